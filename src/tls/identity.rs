//! Who the server is: a certificate chain and its private key.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::SignatureAlgorithm;
use rustls::crypto::ring::{cipher_suite, default_provider};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::CertifiedKey;

/// Where the certificate and its key are, both PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// The certificate, then those that signed it, up to but without the root.
    pub cert: PathBuf,
    /// The certificate's private key.
    pub key: PathBuf,
}

/// Why there is no certificate to serve with.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be read, or is not PEM.
    #[error("cannot read {}", .0.display())]
    Read(PathBuf, #[source] pem::Error),
    /// The file has no certificate in it.
    #[error("{} has no certificate in it", .0.display())]
    Empty(PathBuf),
    /// Certificate and key do not go together, or are of a kind that is not known.
    #[error("certificate and key cannot be used")]
    Unusable(#[source] rustls::Error),
    /// No certificate could be made.
    #[error("cannot make a certificate")]
    Make(#[source] rcgen::Error),
}

/// A certificate chain with its key; cheap to clone.
#[derive(Debug, Clone)]
pub struct Identity {
    certified: Arc<CertifiedKey>,
}

impl Identity {
    /// Reads certificate and key.
    ///
    /// * Errors: [`Error`]; a certificate that is not the key's included, one that has expired not:
    ///   that is the client's to judge.
    pub fn from_files(files: &Files) -> Result<Self, Error> {
        let read = |path: &Path| {
            let path = path.to_owned();
            move |error| Error::Read(path, error)
        };
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(&files.cert)
            .map_err(read(&files.cert))?
            .collect::<Result<_, _>>()
            .map_err(read(&files.cert))?;
        if chain.is_empty() {
            return Err(Error::Empty(files.cert.clone()));
        }
        let key = PrivateKeyDer::from_pem_file(&files.key).map_err(read(&files.key))?;
        Self::new(chain, key)
    }

    /// Makes a certificate for these names and addresses, signed by its own key. It lasts as long
    /// as the process: the key is written nowhere.
    ///
    /// * Errors: [`Error::Make`].
    pub fn self_signed(names: Vec<String>) -> Result<Self, Error> {
        let made = rcgen::generate_simple_self_signed(names).map_err(Error::Make)?;
        let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
        Self::new(vec![made.cert.der().clone()], key.into())
    }

    fn new(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Result<Self, Error> {
        let certified = CertifiedKey::from_der(chain, key, &default_provider());
        Ok(Self { certified: Arc::new(certified.map_err(Error::Unusable)?) })
    }

    /// The certificate's SHA-256, in hexadecimal pairs as other tools print it.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let suite = cipher_suite::TLS13_AES_128_GCM_SHA256.tls13();
        let hash = suite.expect("it is a suite of TLS 1.3").common.hash_provider;
        let digest = hash.hash(self.certified.cert.first().map_or(&[], |cert| cert.as_ref()));
        let mut text = String::new();
        for (index, byte) in digest.as_ref().iter().enumerate() {
            let colon = if index == 0 { "" } else { ":" };
            write!(text, "{colon}{byte:02X}").expect("a string takes what is written to it");
        }
        text
    }

    /// Whether its signatures take so long that an executor should not wait for them: RSA ones
    /// take more than ten times as long as those with elliptic curves.
    pub(super) fn is_slow(&self) -> bool {
        self.certified.key.algorithm() == SignatureAlgorithm::RSA
    }

    pub(super) fn certified(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.certified)
    }
}
