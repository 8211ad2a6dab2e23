//! TLS to the server: whom to believe, and which protocol to agree on.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::ring::default_provider;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Whom an `https` address is believed.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct TrustArgs {
    /// With an `https` address: believe servers whose certificate one of these signed, or is one
    /// of these (PEM).
    #[arg(long, value_name = "FILE")]
    pub(crate) tls_ca: Option<PathBuf>,
    /// With an `https` address: believe whoever answers there, such as a server with
    /// `--tls-self-signed`.
    #[arg(long, conflicts_with = "tls_ca")]
    pub(crate) insecure: bool,
}

/// What is spoken on a connection; under TLS, the server agrees on it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Speaks {
    Http1,
    Http2,
}

/// What makes connections to one server private.
#[derive(Clone)]
pub(crate) struct Secure {
    name: ServerName<'static>,
    http1: TlsConnector,
    http2: TlsConnector,
}

impl Secure {
    /// For the server called `host`; an address in brackets is one of IPv6.
    pub(crate) fn new(host: &str, trust: &TrustArgs) -> Result<Self> {
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let name = ServerName::try_from(host).context("no name that a certificate could have")?;
        let connector = |protocol: &[u8]| {
            let mut config = config(trust)?;
            config.alpn_protocols = vec![protocol.to_vec()];
            anyhow::Ok(TlsConnector::from(Arc::new(config)))
        };
        Ok(Self { name, http1: connector(b"http/1.1")?, http2: connector(b"h2")? })
    }

    /// Shakes hands.
    pub(crate) async fn connect(
        &self,
        speaks: Speaks,
        stream: TcpStream,
    ) -> io::Result<TlsStream<TcpStream>> {
        let connector = match speaks {
            Speaks::Http1 => &self.http1,
            Speaks::Http2 => &self.http2,
        };
        connector.connect(self.name.clone(), stream).await
    }
}

fn config(trust: &TrustArgs) -> Result<ClientConfig> {
    let provider = Arc::new(default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()?;
    Ok(match (&trust.tls_ca, trust.insecure) {
        (Some(path), _) => builder.with_root_certificates(authorities(path)?).with_no_client_auth(),
        (None, true) => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anybody(provider)))
            .with_no_client_auth(),
        (None, false) => bail!("an https address needs --tls-ca FILE or --insecure"),
    })
}

fn authorities(path: &Path) -> Result<RootCertStore> {
    let wrong = || format!("--tls-ca {}", path.display());
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).with_context(wrong)? {
        roots.add(certificate.with_context(wrong)?).with_context(wrong)?;
    }
    ensure!(!roots.is_empty(), "{}: no certificate", wrong());
    Ok(roots)
}

/// Believes every certificate whose key the server has.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
