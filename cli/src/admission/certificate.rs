//! The certificate of the server, read anew when its files change.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::output::Failure;

/// The files of a certificate and its key, and what was last good in them.
#[derive(Debug)]
pub(super) struct Files {
    certificate: PathBuf,
    key: PathBuf,
    /// The contents that were last looked at, good or not.
    seen: Contents,
    current: Arc<Current>,
}

type Contents = (Vec<u8>, Vec<u8>);

/// The pair that new connections get.
#[derive(Debug)]
pub(super) struct Current(RwLock<Arc<CertifiedKey>>);

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.read().unwrap_or_else(PoisonError::into_inner).clone())
    }
}

impl Files {
    /// # Errors
    /// Where the pair cannot be used: without one there is nothing to serve with.
    pub(super) fn new(certificate: PathBuf, key: PathBuf) -> Result<Self, Failure> {
        let seen = read(&certificate, &key)?;
        let current = Arc::new(Current(RwLock::new(Arc::new(pair(&seen)?))));
        Ok(Self { certificate, key, seen, current })
    }

    /// What chooses the certificate of a connection.
    pub(super) fn current(&self) -> Arc<Current> {
        self.current.clone()
    }

    /// Looks at the files, by their contents: kubelet changes where its links lead. What is said of a change.
    ///
    /// # Errors
    /// Where they changed into what cannot be used, said once for each change; the last good pair stays.
    pub(super) fn look(&mut self) -> Result<Option<&'static str>, Failure> {
        let contents = read(&self.certificate, &self.key)?;
        if contents == self.seen {
            return Ok(None);
        }
        let read = pair(&contents);
        self.seen = contents;
        *self.current.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(read?);
        Ok(Some("the certificate changed, and was read anew"))
    }
}

fn read(certificate: &PathBuf, key: &PathBuf) -> Result<Contents, Failure> {
    let read = |path: &PathBuf| std::fs::read(path).map_err(|error| Failure::of(path.display(), error));
    Ok((read(certificate)?, read(key)?))
}

fn pair((certificate, key): &Contents) -> Result<CertifiedKey, Failure> {
    let failed = |what: &str| Failure::from(format!("the certificate cannot be used: {what}"));
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(certificate).collect();
    let chain = chain.map_err(|_| failed("its file is not PEM"))?;
    if chain.is_empty() {
        return Err(failed("its file has no certificate"));
    }
    let key = PrivateKeyDer::from_pem_slice(key)
        .map_err(|_| failed("the file of its key has no private key in PEM (PKCS#8, PKCS#1, SEC1)"))?;
    let key = ring::sign::any_supported_type(&key)
        .map_err(|_| failed("its key is of a kind that is not supported (RSA, P-256, P-384, Ed25519)"))?;
    let pair = CertifiedKey::new(chain, key);
    match pair.keys_match() {
        Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => Ok(pair),
        Err(_) => Err(failed("the key is not that of the certificate")),
    }
}
