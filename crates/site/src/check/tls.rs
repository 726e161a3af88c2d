//! TLS towards a service: whose certificate it has, and for how long yet.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, OtherError, RootCertStore,
    SignatureScheme,
};
use tokio::net::TcpStream;
use tokio::sync::OnceCell;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::Failure;

/// How a service is spoken to.
#[derive(Debug)]
pub struct Tls {
    server_name: Option<String>,
    verify: bool,
    ca_file: Option<PathBuf>,
    expires_in: Option<Duration>,
    /// Made at the first check; as long as that fails, at the next.
    config: OnceCell<Arc<ClientConfig>>,
}

impl Tls {
    /// As the fleet file has it; the name is that of the Host header unless it has one.
    pub fn new(tls: &anycast_fleet::check::Tls, host: Option<&str>) -> Self {
        let host = host.map(|host| without_port(host).to_owned());
        Self {
            server_name: tls.server_name.clone().or(host),
            verify: tls.verify,
            ca_file: tls.ca_file.clone(),
            expires_in: tls.expires_in,
            config: OnceCell::new(),
        }
    }

    /// Speaks TLS on a fresh connection to `address`.
    pub(super) async fn connect(
        &self,
        stream: TcpStream,
        address: IpAddr,
    ) -> Result<TlsStream<TcpStream>, Failure> {
        let name = match &self.server_name {
            Some(name) => ServerName::try_from(name.clone())
                .map_err(|_| Failure::Answer(format!("'{name}' is no name to ask for")))?,
            None => ServerName::from(address),
        };
        let config = self.config.get_or_try_init(|| self.configure()).await?;
        TlsConnector::from(config.clone()).connect(name, stream).await.map_err(failure)
    }

    async fn configure(&self) -> Result<Arc<ClientConfig>, Failure> {
        let provider = Arc::new(ring::default_provider());
        let chain = if self.verify {
            let file = self.ca_file.clone();
            let roots = tokio::task::spawn_blocking(move || roots(file.as_deref())).await;
            let roots = roots.map_err(|error| Failure::Local(error.to_string()))??;
            let chain = WebPkiServerVerifier::builder_with_provider(roots.into(), provider.clone());
            Some(chain.build().map_err(|error| Failure::Local(error.to_string()))?)
        } else {
            None
        };
        let verifier = Verifier { chain, ahead: self.expires_in, provider: provider.clone() };
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| Failure::Local(error.to_string()))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_no_client_auth();
        // A resumed session shows no certificate.
        config.resumption = Resumption::disabled();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}

/// The name of `www.example.net:8443`, `[2001:db8::1]:443` and the like.
fn without_port(host: &str) -> &str {
    if let Some((address, _)) = host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return address;
    }
    match host.rsplit_once(':') {
        Some((name, _)) if !name.contains(':') => name,
        _ => host,
    }
}

/// Who may have signed certificates.
fn roots(file: Option<&Path>) -> Result<RootCertStore, Failure> {
    let mut roots = RootCertStore::empty();
    let Some(file) = file else {
        let system = rustls_native_certs::load_native_certs();
        roots.add_parsable_certificates(system.certs);
        if roots.is_empty() {
            let why = system.errors.first().map_or_else(String::new, |error| format!(": {error}"));
            let words = format!("this system trusts no certificate authority{why}; give a ca-file");
            return Err(Failure::Local(words));
        }
        return Ok(roots);
    };
    let cannot = |why: String| Failure::Local(format!("cannot use {}: {why}", file.display()));
    let certificates =
        CertificateDer::pem_file_iter(file).map_err(|error| cannot(error.to_string()))?;
    for certificate in certificates {
        let certificate = certificate.map_err(|error| cannot(error.to_string()))?;
        roots.add(certificate).map_err(|error| cannot(error.to_string()))?;
    }
    if roots.is_empty() { Err(cannot("no certificate is in it".to_owned())) } else { Ok(roots) }
}

fn failure(error: std::io::Error) -> Failure {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(soon)))) => {
            Failure::Answer(soon.to_string())
        }
        Some(error) => Failure::Answer(format!("TLS: {error}")),
        None => error.into(),
    }
}

/// Looks at a certificate as it is now, and as it will be.
#[derive(Debug)]
struct Verifier {
    /// `None`: whatever certificate there is will do.
    chain: Option<Arc<WebPkiServerVerifier>>,
    ahead: Option<Duration>,
    provider: Arc<CryptoProvider>,
}

/// A certificate, or one between it and the root, ends too soon.
#[derive(Debug, thiserror::Error)]
#[error("the certificate ends {}, expected at least {} from now", self.left(), days(self.ahead))]
struct EndsSoon {
    left: Option<Duration>,
    ahead: Duration,
}

impl EndsSoon {
    fn left(&self) -> String {
        self.left.map_or_else(|| "too soon".to_owned(), |left| format!("in {}", days(left)))
    }
}

/// In days if it is a few, else in hours.
fn days(duration: Duration) -> String {
    let hours = duration.as_secs() / 3600;
    if hours >= 48 { format!("{} days", hours / 24) } else { format!("{hours} hours") }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let Some(chain) = &self.chain else { return Ok(ServerCertVerified::assertion()) };
        let at = |time| {
            chain.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, time)
        };
        let verified = at(now)?;
        let Some(ahead) = self.ahead else { return Ok(verified) };
        let then = UnixTime::since_unix_epoch(Duration::from_secs(now.as_secs()) + ahead);
        at(then).map_err(|error| {
            let left = match &error {
                rustls::Error::InvalidCertificate(CertificateError::ExpiredContext {
                    not_after,
                    ..
                }) => Some(Duration::from_secs(not_after.as_secs().saturating_sub(now.as_secs()))),
                rustls::Error::InvalidCertificate(CertificateError::Expired) => None,
                _ => return error,
            };
            CertificateError::Other(OtherError(Arc::new(EndsSoon { left, ahead }))).into()
        })
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests;
