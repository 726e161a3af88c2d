//! A site's API over TCP, as a client sees it.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use hyper::http::request;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::api::{read_token, roots};

/// The API's usual port.
const PORT: u16 = 8443;

/// Where a site's API is, and what is shown there.
#[derive(Clone)]
pub struct Remote {
    /// With the port.
    authority: String,
    name: ServerName<'static>,
    token: Option<String>,
    config: Arc<ClientConfig>,
}

/// The files of a caller.
#[derive(Clone, Copy, Debug, Default)]
pub struct Credentials<'a> {
    /// Holds the token to show.
    pub token: Option<&'a Path>,
    /// The authorities that may vouch for the site; `None`: the system's.
    pub ca: Option<&'a Path>,
    /// The certificate to show, and those up to the root.
    pub certificate: Option<&'a Path>,
    /// Its private key.
    pub key: Option<&'a Path>,
}

impl fmt::Debug for Remote {
    /// Without the secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remote").field("authority", &self.authority).finish_non_exhaustive()
    }
}

impl Remote {
    /// The site at `url`, which begins with `https://`.
    ///
    /// # Errors
    /// In words: what of it cannot be used.
    pub fn new(url: &str, credentials: &Credentials<'_>) -> Result<Self, String> {
        let (host, authority) = place(url)?;
        let name = ServerName::try_from(host.clone())
            .map_err(|_| format!("{host:?} is neither a name nor an address"))?;
        let token = credentials.token.map(read_token).transpose()?;
        let token = token
            .map(|secret| String::from_utf8(secret).map_err(|_| "the token is not text".to_owned()))
            .transpose()?;
        let roots = match credentials.ca {
            Some(path) => roots(path)?,
            None => system_roots()?,
        };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(roots);
        let mut config = match (credentials.certificate, credentials.key) {
            (Some(certificate), Some(key)) => {
                let cannot = |path: &Path, error: &dyn fmt::Display| {
                    format!("cannot use {}: {error}", path.display())
                };
                let chain = CertificateDer::pem_file_iter(certificate)
                    .and_then(Iterator::collect::<Result<Vec<_>, _>>)
                    .map_err(|error| cannot(certificate, &error))?;
                let secret =
                    PrivateKeyDer::from_pem_file(key).map_err(|error| cannot(key, &error))?;
                config
                    .with_client_auth_cert(chain, secret)
                    .map_err(|error| cannot(certificate, &error))?
            }
            (None, None) => config.with_no_client_auth(),
            _ => return Err("a certificate and its key go together".to_owned()),
        };
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { authority, name, token, config: Arc::new(config) })
    }

    /// Where it is.
    pub(super) fn url(&self) -> String {
        format!("https://{}", self.authority)
    }

    /// # Errors
    /// In words.
    pub(super) async fn connect(&self) -> Result<TlsStream<TcpStream>, String> {
        let stream = TcpStream::connect(&self.authority).await.map_err(|it| it.to_string())?;
        TlsConnector::from(Arc::clone(&self.config))
            .connect(self.name.clone(), stream)
            .await
            .map_err(|error| error.to_string())
    }

    /// Says where the request goes and who asks.
    pub(super) fn introduce(&self, request: request::Builder) -> request::Builder {
        let request = request.header("host", &self.authority);
        match &self.token {
            Some(token) => request.header("authorization", format!("Bearer {token}")),
            None => request,
        }
    }
}

/// The host and, with the port, the authority (RFC 3986 §3.2) of a URL.
fn place(url: &str) -> Result<(String, String), String> {
    let rest = url.strip_prefix("https://").ok_or_else(|| {
        format!("{url:?} does not begin with https://: there is no API without TLS")
    })?;
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    if rest.is_empty() || rest.contains(['/', '?', '#', '@']) {
        return Err(format!("{url:?} must be like https://fra.example.net:{PORT}"));
    }
    // An IPv6 address stands in brackets.
    let has_port = rest.rsplit_once(':').is_some_and(|(_, port)| !port.ends_with(']'));
    let authority = if has_port { rest.to_owned() } else { format!("{rest}:{PORT}") };
    let host = authority.rsplit_once(':').map_or("", |(host, _)| host);
    let host = host.strip_prefix('[').and_then(|it| it.strip_suffix(']')).unwrap_or(host);
    Ok((host.to_owned(), authority))
}

fn system_roots() -> Result<RootCertStore, String> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        return Err("the system knows no authorities; name one with --ca".to_owned());
    }
    Ok(roots)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_has_a_host_and_a_port() {
        for (url, host, authority) in [
            ("https://fra.example.net:8443", "fra.example.net", "fra.example.net:8443"),
            ("https://fra.example.net/", "fra.example.net", "fra.example.net:8443"),
            ("https://192.0.2.1:1", "192.0.2.1", "192.0.2.1:1"),
            ("https://[2001:db8::1]", "2001:db8::1", "[2001:db8::1]:8443"),
            ("https://[2001:db8::1]:99/", "2001:db8::1", "[2001:db8::1]:99"),
        ] {
            assert_eq!(place(url), Ok((host.to_owned(), authority.to_owned())), "{url}");
        }
        for url in ["http://fra", "fra:8443", "https://", "https://a/b", "https://u@a"] {
            assert!(place(url).is_err(), "{url}");
        }
    }

    #[test]
    fn what_is_shown_is_no_secret_of_the_log() {
        let folder = std::env::temp_dir().join(format!("anycast-remote-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let token = folder.join("token");
        std::fs::write(&token, "  swordfish-swordfish\n").unwrap();
        let credentials = Credentials { token: Some(&token), ..Credentials::default() };
        if let Ok(remote) = Remote::new("https://fra.example.net", &credentials) {
            assert!(!format!("{remote:?}").contains("swordfish"));
            let request = remote.introduce(request::Builder::new()).body(()).unwrap();
            assert_eq!(request.headers()["authorization"], "Bearer swordfish-swordfish");
        }
        std::fs::write(&token, "short").unwrap();
        let short = Remote::new("https://fra.example.net", &credentials).unwrap_err();
        assert!(short.contains("at least 16 octets"), "{short}");
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
