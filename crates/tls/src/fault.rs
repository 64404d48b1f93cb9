//! What ends a handshake, in OpenSSL's words.

use rustls::{AlertDescription, Error, PeerIncompatible};

/// What ended a handshake, as OpenSSL numbers and says it (`ssl_fc_err`): numbers are those of its
/// library for TLS (20) with a reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fault {
    /// The number; 0 is nothing.
    pub number: u32,
    /// The words.
    pub text: &'static str,
}

/// `ERR_LIB_SSL`, where OpenSSL's packed numbers have it.
const LIBRARY: u32 = 20 << 23;

macro_rules! fault {
    ($reason:literal, $text:literal) => {
        Fault {
            number: LIBRARY | $reason,
            text: concat!("error:", $text),
        }
    };
}

impl Fault {
    /// The fault that OpenSSL would find where rustls found this.
    pub fn of(error: &Error) -> Fault {
        match error {
            Error::AlertReceived(alert) => of_alert(*alert),
            Error::NoCertificatesPresented => {
                fault!(
                    199,
                    "0A0000C7:SSL routines::peer did not return a certificate"
                )
            }
            Error::InvalidCertificate(_) => {
                fault!(134, "0A000086:SSL routines::certificate verify failed")
            }
            Error::NoApplicationProtocol => {
                fault!(235, "0A0000EB:SSL routines::no application protocol")
            }
            Error::PeerIncompatible(why) => match why {
                PeerIncompatible::NoCipherSuitesInCommon
                | PeerIncompatible::NoCertificateRequestSignatureSchemesInCommon => {
                    fault!(193, "0A0000C1:SSL routines::no shared cipher")
                }
                PeerIncompatible::NoKxGroupsInCommon
                | PeerIncompatible::NoEcPointFormatsInCommon
                | PeerIncompatible::NamedGroupsExtensionRequired
                | PeerIncompatible::KeyShareExtensionRequired => {
                    fault!(101, "0A000065:SSL routines::no suitable key share")
                }
                PeerIncompatible::NoSignatureSchemesInCommon
                | PeerIncompatible::SignatureAlgorithmsExtensionRequired => {
                    fault!(
                        118,
                        "0A000076:SSL routines::no suitable signature algorithm"
                    )
                }
                _ => fault!(258, "0A000102:SSL routines::unsupported protocol"),
            },
            Error::InvalidMessage(_) => {
                fault!(267, "0A00010B:SSL routines::wrong version number")
            }
            Error::DecryptError => {
                fault!(
                    281,
                    "0A000119:SSL routines::decryption failed or bad record mac"
                )
            }
            Error::General(_) => fault!(234, "0A0000EA:SSL routines::callback failed"),
            _ => fault!(244, "0A0000F4:SSL routines::unexpected message"),
        }
    }

    /// What OpenSSL finds in the first bytes of a client that does not speak TLS.
    pub fn of_greeting(bytes: &[u8]) -> Fault {
        const METHODS: [&[u8]; 4] = [b"GET ", b"POST", b"HEAD", b"PUT "];
        if METHODS.iter().any(|m| bytes.starts_with(m)) {
            return fault!(156, "0A00009C:SSL routines::http request");
        }
        if bytes.starts_with(b"CONNE") {
            return fault!(155, "0A00009B:SSL routines::https proxy request");
        }
        fault!(267, "0A00010B:SSL routines::wrong version number")
    }
}

/// Reasons of alerts are 1000 and the alert's own number (RFC 8446 section 6).
fn of_alert(alert: AlertDescription) -> Fault {
    match alert {
        AlertDescription::UnexpectedMessage => {
            fault!(
                1010,
                "0A0003F2:SSL routines::sslv3 alert unexpected message"
            )
        }
        AlertDescription::BadRecordMac => {
            fault!(1020, "0A0003FC:SSL routines::sslv3 alert bad record mac")
        }
        AlertDescription::HandshakeFailure => {
            fault!(1040, "0A000410:SSL routines::sslv3 alert handshake failure")
        }
        AlertDescription::BadCertificate => {
            fault!(1042, "0A000412:SSL routines::sslv3 alert bad certificate")
        }
        AlertDescription::UnsupportedCertificate => {
            fault!(
                1043,
                "0A000413:SSL routines::sslv3 alert unsupported certificate"
            )
        }
        AlertDescription::CertificateRevoked => {
            fault!(
                1044,
                "0A000414:SSL routines::sslv3 alert certificate revoked"
            )
        }
        AlertDescription::CertificateExpired => {
            fault!(
                1045,
                "0A000415:SSL routines::sslv3 alert certificate expired"
            )
        }
        AlertDescription::CertificateUnknown => {
            fault!(
                1046,
                "0A000416:SSL routines::sslv3 alert certificate unknown"
            )
        }
        AlertDescription::UnknownCA => {
            fault!(1048, "0A000418:SSL routines::tlsv1 alert unknown ca")
        }
        AlertDescription::DecryptError => {
            fault!(1051, "0A00041B:SSL routines::tlsv1 alert decrypt error")
        }
        AlertDescription::ProtocolVersion => {
            fault!(1070, "0A00042E:SSL routines::tlsv1 alert protocol version")
        }
        AlertDescription::InternalError => {
            fault!(1080, "0A000438:SSL routines::tlsv1 alert internal error")
        }
        AlertDescription::CertificateRequired => {
            fault!(
                1116,
                "0A00045C:SSL routines::tlsv13 alert certificate required"
            )
        }
        other => Fault {
            number: LIBRARY | (1000 + u32::from(u8::from(other))),
            text: "error:SSL routines::alert",
        },
    }
}
