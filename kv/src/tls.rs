//! What is said where a Redis is not who it has to be.

use std::{error::Error as _, io, sync::Arc};

use redis::RedisError;
use rustls::{CertificateError, Error};

/// Why no connection by TLS could be made; none where that was not the reason.
pub(crate) fn refusal(error: &RedisError) -> Option<&'static str> {
    let shared = error.source()?.downcast_ref::<Arc<dyn std::error::Error + Send + Sync>>()?;
    let refused = shared.downcast_ref::<io::Error>()?.get_ref()?.downcast_ref::<Error>()?;
    Some(match refused {
        Error::InvalidCertificate(wrong) => match wrong {
            CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                "its certificate is not of an authority in tls.ca"
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                "its certificate has expired"
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                "its certificate does not name its address"
            }
            _ => "its certificate is refused",
        },
        Error::InvalidMessage(_) | Error::PeerIncompatible(_) => "it does not speak TLS as is needed",
        _ => return None,
    })
}
