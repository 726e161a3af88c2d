//! NKeys and credentials files (a JWT and its seed) against a real nats-server: who is let in, and
//! what the others are told.

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use nkeys::KeyPair;
use serde_json::{Value, json};

use super::{Nats, Node, file_with, until};

/// A folder of this test's, removed with it.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("anycast-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }

    /// A file with that text, and its path in words.
    fn write(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A site with these keys of the fleet's state is let in.
async fn is_let_in(nats: &Nats, keys: &str) {
    let mut nodes = [Node::start("a", &file_with(nats.port, "nats", keys))];
    until(&mut nodes, keys, |nodes| nodes[0].sees_all(1)).await;
}

/// It is not, and the words say so.
async fn is_told(nats: &Nats, keys: &str, words: &[&str]) {
    let mut nodes = [Node::start("a", &file_with(nats.port, "nats", keys))];
    until(&mut nodes, &format!("{words:?}"), |nodes| {
        let why = nodes[0].state.look(nodes[0].now()).and_then(|look| look.why).unwrap_or_default();
        words.iter().all(|it| why.contains(it))
    })
    .await;
    assert!(!nodes[0].sees_all(1), "{keys}");
}

#[tokio::test]
async fn an_nkey_lets_in_and_who_has_another_is_told_so() {
    let folder = Folder::new("nkey");
    let (ours, other) = (KeyPair::new_user(), KeyPair::new_user());
    let users = format!("authorization {{ users = [{{ nkey: {} }}] }}\n", ours.public_key());
    let config = folder.write("nats.conf", &users);
    let Some(nats) = Nats::start(&["-c", &config]) else { return };
    let key = |name: &str, text: &str| {
        let path = folder.write(name, text);
        (format!("nkey-seed-file = {path:?}"), path)
    };
    is_let_in(&nats, &key("right", &format!("{}\n", ours.seed().unwrap())).0).await;

    let (keys, path) = key("other", &other.seed().unwrap());
    is_told(&nats, &keys, &["authorization violation", "nkey-seed-file", &path]).await;
    is_told(&nats, "", &["authorization violation", "nothing in the fleet file says who"]).await;
    let public = ours.public_key();
    let account = KeyPair::new_account().seed().unwrap();
    for (name, text, words) in [
        ("public", public.as_str(), "holds no user's NKey seed"),
        ("account", &account, "it is not a user's"),
        ("empty", "", "holds no user's NKey seed"),
    ] {
        let (keys, path) = key(name, text);
        is_told(&nats, &keys, &[&path, words]).await;
    }
    let none = folder.0.join("none").display().to_string();
    let keys = format!("nkey-seed-file = {none:?}");
    is_told(&nats, &keys, &["cannot read", &none, "No such file"]).await;
}

/// Base64 for URLs, without padding, as JWTs have it (RFC 7515, section 2).
fn base64(octets: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let three = |part: &[u8]| {
        let bits = (0..3).fold(0, |bits, it| bits << 8 | u32::from(*part.get(it).unwrap_or(&0)));
        let letter = move |place: usize| LETTERS[(bits >> (18 - 6 * place)) as usize & 63];
        (0..=part.len()).map(move |place| char::from(letter(place)))
    };
    octets.chunks(3).flat_map(three).collect()
}

/// A JWT of NATS, version 2: `signer` says of `subject` what stands in `nats`. It ends at `ends`,
/// in seconds since 1970; 0: never.
fn jwt(signer: &KeyPair, subject: &KeyPair, name: &str, ends: u64, nats: &Value) -> String {
    let head = json!({ "typ": "JWT", "alg": "ed25519-nkey" });
    let body = json!({
        "jti": name, "iat": 1_700_000_000, "exp": ends, "iss": signer.public_key(),
        "name": name, "sub": subject.public_key(), "nats": nats,
    });
    let text = format!("{}.{}", base64(&head.to_string().into_bytes()), {
        base64(&body.to_string().into_bytes())
    });
    let signature = signer.sign(text.as_bytes()).unwrap();
    format!("{text}.{}", base64(&signature))
}

fn account(signer: &KeyPair, subject: &KeyPair, name: &str, storage: i64) -> String {
    let limits = json!({
        "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": true,
        "conn": -1, "leaf": -1, "mem_storage": storage, "disk_storage": storage, "streams": -1,
        "consumer": -1,
    });
    jwt(signer, subject, name, 0, &json!({ "limits": limits, "type": "account", "version": 2 }))
}

fn user(signer: &KeyPair, subject: &KeyPair, ends: u64) -> String {
    let claims = json!({
        "pub": {}, "sub": {}, "subs": -1, "data": -1, "payload": -1, "type": "user", "version": 2,
    });
    jwt(signer, subject, "site", ends, &claims)
}

/// As `nsc generate creds` writes it.
fn credentials(jwt: &str, seed: &str) -> String {
    format!(
        "-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n\
         -----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
    )
}

/// The configuration of a server that trusts an operator, with an account for the sites.
fn server_of(operator: &KeyPair, sites: &KeyPair, folder: &Path) -> String {
    let system = KeyPair::new_account();
    let itself = jwt(operator, operator, "test", 0, &json!({ "type": "operator", "version": 2 }));
    let path = folder.join("operator.jwt");
    std::fs::write(&path, itself).unwrap();
    format!(
        "operator: {path:?}\nsystem_account: {0}\nresolver: MEMORY\n\
         resolver_preload: {{ {0}: {1}, {2}: {3} }}\n",
        system.public_key(),
        account(operator, &system, "system", 0),
        sites.public_key(),
        account(operator, sites, "sites", -1),
    )
}

#[tokio::test]
async fn a_credentials_file_lets_in_and_who_has_another_is_told_so() {
    let folder = Folder::new("creds");
    let (operator, sites) = (KeyPair::new_operator(), KeyPair::new_account());
    let config = folder.write("nats.conf", &server_of(&operator, &sites, &folder.0));
    let Some(nats) = Nats::start(&["-c", &config]) else { return };
    let (ours, other) = (KeyPair::new_user(), KeyPair::new_user());
    let (seed, other_seed) = (ours.seed().unwrap(), other.seed().unwrap());
    let key = |name: &str, text: &str| {
        let path = folder.write(name, text);
        (format!("credentials-file = {path:?}"), path)
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let right = user(&sites, &ours, now + 3600);
    is_let_in(&nats, &key("right", &credentials(&right, &seed)).0).await;

    let refused = "authorization violation";
    let both = credentials(&right, &seed);
    let (jwt_alone, _) = both.split_once("\n\n").unwrap();
    let stranger = user(&KeyPair::new_account(), &ours, 0);
    let ended = user(&sites, &ours, now - 10);
    for (name, text, words) in [
        ("another's seed", credentials(&right, &other_seed), refused),
        ("another account's", credentials(&stranger, &seed), refused),
        ("one that has ended", credentials(&ended, &seed), refused),
        ("no JWT", seed.clone(), "is no credentials file: cannot parse user JWT"),
        ("no seed", jwt_alone.to_owned(), "is no credentials file: cannot parse nkey"),
        ("empty", String::new(), "is no credentials file"),
    ] {
        let (keys, path) = key(name, &text);
        is_told(&nats, &keys, &[&path, words]).await;
    }
    is_told(&nats, "", &[refused, "nothing in the fleet file says who"]).await;
}
