use axum::routing::get;

use super::*;
use crate::client::{Client, Credentials, Remote};

/// A folder of this test's own, removed with it.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let folder =
            std::env::temp_dir().join(format!("anycast-api-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, content).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Writes an authority, and a certificate and a key for `localhost`; the file's words of an API.
fn api(folder: &Folder) -> Api {
    let ca_key = rcgen::KeyPair::generate().unwrap();
    let mut ca = rcgen::CertificateParams::new(Vec::new()).unwrap();
    ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    folder.write("ca.pem", ca.self_signed(&ca_key).unwrap().pem());
    let issuer = rcgen::Issuer::new(ca, ca_key);
    let key = rcgen::KeyPair::generate().unwrap();
    let own = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let own = own.signed_by(&key, &issuer).unwrap();
    Api {
        listen: ([127, 0, 0, 1], 0).into(),
        certificate: folder.write("own.pem", own.pem()),
        key: folder.write("own.key", key.serialize_pem()),
        client_ca: None,
        tokens: vec![anycast_fleet::api::ApiToken {
            name: "reader".to_owned(),
            role: Role::Read,
            file: folder.write("token", "a-token-of-some-length"),
        }],
        clients: Vec::new(),
    }
}

#[tokio::test]
async fn one_that_is_slow_in_tls_holds_up_no_other() {
    let folder = Folder::new("slow");
    let doors = open(&api(&folder)).await.unwrap();
    let port = doors.listener.local_addr().unwrap().port();
    let name = |caller: Caller| async move { caller.name().unwrap_or("nobody").to_owned() };
    let router = Router::new().route("/who", get(name));
    let server = tokio::spawn(serve(doors, router));
    let silent = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let (token, ca) = (folder.0.join("token"), folder.0.join("ca.pem"));
    let credentials = Credentials { token: Some(&token), ca: Some(&ca), ..Credentials::default() };
    let remote = Remote::new(&format!("https://localhost:{port}"), &credentials).unwrap();
    assert_eq!(Client::remote(remote).get_text("/who").await.unwrap(), "reader");
    drop(silent);
    server.abort();
}

#[tokio::test]
async fn what_cannot_be_used_is_said_before_anything_is_open() {
    let folder = Folder::new("unusable");
    let good = api(&folder);
    let wrong = |change: fn(&mut Api, &Folder)| {
        let mut api = good.clone();
        change(&mut api, &folder);
        api
    };
    let table: [(Api, &str); 5] = [
        (wrong(|api, _| api.certificate = "/nowhere.pem".into()), "cannot read the certificate"),
        (
            wrong(|api, folder| api.certificate = folder.write("empty.pem", "")),
            "holds no certificate in PEM",
        ),
        (wrong(|api, folder| api.key = folder.write("bad.key", "x")), "cannot read the key"),
        (
            wrong(|api, folder| {
                let other = rcgen::KeyPair::generate().unwrap();
                api.key = folder.write("other.key", other.serialize_pem());
            }),
            "cannot use",
        ),
        (
            wrong(|api, folder| {
                api.tokens[0].file = folder.write("short", "short\n\n\n\n\n\n\n\n");
            }),
            "token reader: ",
        ),
    ];
    for (api, words) in table {
        let error = open(&api).await.map(drop).unwrap_err();
        assert!(error.contains(words), "{error}");
    }
    assert!(open(&good).await.is_ok());
}
