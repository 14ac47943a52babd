//! The step that answers requests for the metadata of protected resources, and finds the resource of any other request
//! (RFC 9728).

use std::ops::ControlFlow;

use super::build_outcome::Refusal;
use super::flow::RequestFlow;
use super::outcome::{Answer, Outcome};
use super::trace::StepName;
use crate::reason::Reason;

impl RequestFlow<'_, '_> {
    /// Answers a request for a metadata document, or for what begins like one, whatever its rule says: none of these
    /// is the upstream's.
    pub(super) fn answer_metadata(&mut self) -> ControlFlow<Outcome> {
        let Some(resources) = &self.config.protected_resources else { return ControlFlow::Continue(()) };
        match resources.answer(&self.view) {
            Ok(None) => ControlFlow::Continue(()),
            Ok(Some(reply)) => {
                let state = std::mem::take(&mut self.allow.state);
                ControlFlow::Break(Outcome::Answer(Answer { reply, state }))
            }
            Err(reason) => self.refuse_unclear(reason),
        }
    }

    /// Finds the resource that the request is for. It says what audience the tokens need and what a challenge names, so
    /// it has to be one, whoever reads the request.
    pub(super) fn find_resource(&mut self) -> ControlFlow<Outcome> {
        let Some(resources) = &self.config.protected_resources else { return ControlFlow::Continue(()) };
        self.gate.trace.begin(StepName::FindResource, None);
        match resources.find(&self.view) {
            Ok(resource) => {
                self.resource = resource;
                ControlFlow::Continue(())
            }
            Err(reason) => self.refuse_unclear(reason),
        }
    }

    /// Refuses a request that some programs would take for another one, under a rule that only reports, too.
    fn refuse_unclear(&mut self, reason: Reason) -> ControlFlow<Outcome> {
        const WORDS: &str = "which of \"protected_resources\" it is for depends on the reader";
        let refusal = Refusal { is_enforced: true, ..Refusal::new(reason.because(WORDS)) };
        ControlFlow::Break(self.build_refusal(refusal))
    }
}
