//! Operators, accounts and users of NATS as `nsc` makes them: JWTs and the seeds that go with them.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use nkeys::KeyPair;
use serde_json::{Value, json};

/// A server's configuration by which users show credentials, and the credentials of one user.
pub struct Accounts {
    pub configuration: String,
    pub credentials: String,
}

impl Accounts {
    pub fn new() -> Self {
        let (operator, account, user) = (KeyPair::new_operator(), KeyPair::new_account(), KeyPair::new_user());
        let unlimited = json!({
            "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": true, "conn": -1, "leaf": -1,
        });
        let of_operator = jwt(&operator, &operator, json!({"type": "operator", "version": 2}));
        let of_account = jwt(&operator, &account, json!({"type": "account", "version": 2, "limits": unlimited}));
        let open = json!({"type": "user", "version": 2, "pub": {}, "sub": {}, "subs": -1, "data": -1, "payload": -1});
        let of_user = jwt(&account, &user, open);
        let public = account.public_key();
        let seed = user.seed().unwrap();
        Self {
            configuration: format!(
                "operator: {of_operator}\nresolver: MEMORY\nresolver_preload: {{{public}: {of_account}}}\n"
            ),
            credentials: format!(
                "-----BEGIN NATS USER JWT-----\n{of_user}\n------END NATS USER JWT------\n\n\
                 -----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
            ),
        }
    }
}

fn jwt(issuer: &KeyPair, subject: &KeyPair, nats: Value) -> String {
    let claims = json!({
        "jti": subject.public_key(), "iat": 1_700_000_000, "name": "test",
        "iss": issuer.public_key(), "sub": subject.public_key(), "nats": nats,
    });
    let encode = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", encode(json!({"typ": "JWT", "alg": "ed25519-nkey"})), encode(claims));
    let signature = URL_SAFE_NO_PAD.encode(issuer.sign(signed.as_bytes()).unwrap());
    format!("{signed}.{signature}")
}
