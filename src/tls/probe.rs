//! A client that asks one thing of a server of its own machine, and does not ask who that is: it
//! tells it nothing, and believes it no more than that it answers.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::ring::default_provider;
use rustls::crypto::{verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, DEFAULT_VERSIONS, DigitallySignedStruct, Error,
    SignatureScheme, StreamOwned, SupportedProtocolVersion,
};

/// Believes every certificate whose key the server has.
#[derive(Debug)]
struct Anybody;

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = default_provider().signature_verification_algorithms;
        verify_tls12_signature(message, cert, signed, &algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = default_provider().signature_verification_algorithms;
        verify_tls13_signature(message, cert, signed, &algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        default_provider().signature_verification_algorithms.supported_schemes()
    }
}

/// Settings of a client that speaks these versions, with whoever is there.
///
/// * Errors: the library has none of the versions.
pub fn with_anybody(versions: &[&'static SupportedProtocolVersion]) -> Result<ClientConfig, Error> {
    let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()));
    let builder = builder.with_protocol_versions(versions)?.dangerous();
    Ok(builder.with_custom_certificate_verifier(Arc::new(Anybody)).with_no_client_auth())
}

/// Speaks TLS over `socket`, with whoever is there.
///
/// * Errors: the library's settings; whether the peer speaks TLS turns out when it is used.
pub fn speak(socket: TcpStream) -> Result<impl Read + Write, Error> {
    let config = with_anybody(DEFAULT_VERSIONS)?;
    let address = socket.peer_addr().map_err(|_| Error::HandshakeNotComplete)?;
    let name = ServerName::from(address.ip());
    Ok(StreamOwned::new(ClientConnection::new(Arc::new(config), name)?, socket))
}
