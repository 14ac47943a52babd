import com.nimbusds.jose.JWSAlgorithm;
import com.nimbusds.jose.jwk.Curve;
import com.nimbusds.jose.jwk.JWK;
import com.nimbusds.jose.jwk.JWKSet;
import com.nimbusds.jose.jwk.KeyType;
import com.nimbusds.jose.jwk.KeyUse;
import com.nimbusds.jose.jwk.gen.ECKeyGenerator;
import com.nimbusds.jose.jwk.gen.RSAKeyGenerator;
import com.nimbusds.jose.jwk.source.JWKSource;
import com.nimbusds.jose.proc.SecurityContext;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.UUID;
import org.springframework.boot.SpringApplication;
import org.springframework.boot.autoconfigure.EnableAutoConfiguration;
import org.springframework.context.annotation.Bean;
import org.springframework.context.annotation.Configuration;
import org.springframework.security.core.Authentication;
import org.springframework.security.core.userdetails.User;
import org.springframework.security.core.userdetails.UserDetailsService;
import org.springframework.security.oauth2.core.AuthorizationGrantType;
import org.springframework.security.oauth2.core.ClientAuthenticationMethod;
import org.springframework.security.oauth2.jose.jws.SignatureAlgorithm;
import org.springframework.security.oauth2.jwt.JwtEncoder;
import org.springframework.security.oauth2.jwt.NimbusJwtEncoder;
import org.springframework.security.oauth2.server.authorization.authentication.OAuth2ClientCredentialsAuthenticationToken;
import org.springframework.security.oauth2.server.authorization.client.InMemoryRegisteredClientRepository;
import org.springframework.security.oauth2.server.authorization.client.RegisteredClient;
import org.springframework.security.oauth2.server.authorization.client.RegisteredClientRepository;
import org.springframework.security.oauth2.server.authorization.settings.AuthorizationServerSettings;
import org.springframework.security.oauth2.server.authorization.settings.ClientSettings;
import org.springframework.security.oauth2.server.authorization.settings.OAuth2TokenFormat;
import org.springframework.security.oauth2.server.authorization.settings.TokenSettings;
import org.springframework.security.oauth2.server.authorization.token.JwtEncodingContext;
import org.springframework.security.oauth2.server.authorization.token.OAuth2TokenClaimsContext;
import org.springframework.security.oauth2.server.authorization.token.OAuth2TokenCustomizer;

/**
 * An authorization server: `java Server ISSUER STATE`. Its keys are kept in the file STATE, and change by what is written to
 * it: `add` a key in front of the others, `drop` the oldest, `replace` all of its kind.
 */
@Configuration(proxyBeanMethods = false)
@EnableAutoConfiguration
public class Server {
  static final List<JWK> keys = new ArrayList<>();
  static String issuer;
  static Path state;

  public static void main(String[] arguments) throws Exception {
    issuer = arguments[0];
    state = Path.of(arguments[1]);
    if (Files.exists(state)) {
      keys.addAll(JWKSet.parse(Files.readString(state)).getKeys());
    } else {
      keys.add(made());
      for (JWSAlgorithm algorithm : List.of(JWSAlgorithm.ES256, JWSAlgorithm.ES384, JWSAlgorithm.ES512)) {
        Curve curve = Curve.forJWSAlgorithm(algorithm).iterator().next();
        // A key of another curve would be taken where none of them says what it is for.
        keys.add(new ECKeyGenerator(curve).algorithm(algorithm).keyUse(KeyUse.SIGNATURE).keyID(UUID.randomUUID().toString()).generate());
      }
      keep();
    }
    SpringApplication.run(Server.class);
    var lines = new BufferedReader(new InputStreamReader(System.in));
    for (String line = lines.readLine(); line != null; line = lines.readLine()) {
      change(line);
      System.out.println(line);
    }
  }

  static JWK made() throws Exception {
    return new RSAKeyGenerator(2048).keyUse(KeyUse.SIGNATURE).keyID(UUID.randomUUID().toString()).generate();
  }

  static void keep() throws Exception {
    Files.writeString(state, new JWKSet(keys).toString(false));
  }

  static synchronized void change(String what) throws Exception {
    List<JWK> before = keys.stream().filter(key -> key.getKeyType().equals(KeyType.RSA)).toList();
    if (!what.equals("drop")) {
      keys.add(0, made());
    }
    if (what.equals("replace")) {
      keys.removeAll(before);
    } else if (what.equals("drop")) {
      keys.remove(before.get(before.size() - 1));
    }
    keep();
  }

  static synchronized JWKSet current() {
    return new JWKSet(List.copyOf(keys));
  }

  @Bean
  JWKSource<SecurityContext> source() {
    return (selector, context) -> selector.select(current());
  }

  @Bean
  JwtEncoder encoder(JWKSource<SecurityContext> source) {
    var encoder = new NimbusJwtEncoder(source);
    encoder.setJwkSelector(found -> found.get(0));
    return encoder;
  }

  static RegisteredClient client(String name, OAuth2TokenFormat format, AuthorizationGrantType... grants) {
    var made = RegisteredClient.withId(name).clientId(name).clientSecret("{noop}a-secret-of-" + name)
        .clientAuthenticationMethod(ClientAuthenticationMethod.CLIENT_SECRET_BASIC)
        .scopes(scopes -> scopes.addAll(List.of("orders.read", "orders.write", "openid")))
        .clientSettings(ClientSettings.builder().requireAuthorizationConsent(false).requireProofKey(true).build())
        .tokenSettings(TokenSettings.builder().accessTokenFormat(format).build())
        .authorizationGrantTypes(types -> types.addAll(List.of(grants)));
    return (grants.length > 1 ? made.redirectUri("http://127.0.0.1:9/back") : made).build();
  }

  @Bean
  RegisteredClientRepository clients() {
    var own = AuthorizationGrantType.CLIENT_CREDENTIALS;
    var code = new AuthorizationGrantType[] {AuthorizationGrantType.AUTHORIZATION_CODE, AuthorizationGrantType.REFRESH_TOKEN};
    return new InMemoryRegisteredClientRepository(
        client("svc", OAuth2TokenFormat.SELF_CONTAINED, own), client("svc-opaque", OAuth2TokenFormat.REFERENCE, own),
        client("web", OAuth2TokenFormat.SELF_CONTAINED, code), client("web-opaque", OAuth2TokenFormat.REFERENCE, code),
        client("gate", OAuth2TokenFormat.REFERENCE, own));
  }

  @Bean
  UserDetailsService users() {
    return name -> User.withUsername(name).password("{noop}of nobody").roles("CLERK").build();
  }

  @Bean
  AuthorizationServerSettings settings() {
    return AuthorizationServerSettings.builder().issuer(issuer).build();
  }

  /** What a client asked for besides, in words of our own. A person's token is for orders. */
  static Map<String, Object> asked(Authentication grant) {
    return grant instanceof OAuth2ClientCredentialsAuthenticationToken own
        ? own.getAdditionalParameters() : Map.of("audience", "orders");
  }

  @Bean
  OAuth2TokenCustomizer<OAuth2TokenClaimsContext> opaque() {
    return context -> {
      Object audience = asked(context.getAuthorizationGrant()).get("audience");
      if (audience != null) {
        context.getClaims().audience(List.of(audience.toString()));
      }
    };
  }

  @Bean
  OAuth2TokenCustomizer<JwtEncodingContext> signed() {
    return context -> {
      if (!context.getTokenType().getValue().equals("access_token")) {
        return;
      }
      var asked = asked(context.getAuthorizationGrant());
      if (asked.get("audience") != null) {
        context.getClaims().audience(List.of(asked.get("audience").toString()));
      }
      if (asked.get("algorithm") != null) {
        context.getJwsHeader().algorithm(SignatureAlgorithm.from(asked.get("algorithm").toString()));
      }
    };
  }
}
