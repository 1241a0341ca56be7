//! The key about how clients may log in.
//!
//! What it is not: the check of a login, which is for `access`, nor the dialogue, which the protocol's
//! machine leads.

use serde::{Deserialize, Serialize};

/// A SASL mechanism by its name on the wire (CONN-03).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum AuthMechanism {
    /// Name and password in one response (CONN-09).
    #[serde(rename = "PLAIN")]
    Plain,
    /// The same as a field table (CONN-10).
    #[serde(rename = "AMQPLAIN")]
    AmqPlain,
    /// The name first, and the password when asked for it (CONN-14). As safe as PLAIN, that is only
    /// where nobody listens; it serves to try clients that answer challenges.
    #[serde(rename = "RABBIT-CR-DEMO")]
    RabbitCrDemo,
    /// Whoever has shown a good certificate is the user that it names, and needs no password (RFC 4422,
    /// appendix A). Offered to nobody else.
    #[serde(rename = "EXTERNAL")]
    External,
    /// Anybody is the user `anonymous_login_user` (RFC 4505).
    #[serde(rename = "ANONYMOUS")]
    Anonymous,
}

impl AuthMechanism {
    const ALL: [Self; 5] = [
        Self::Plain,
        Self::AmqPlain,
        Self::RabbitCrDemo,
        Self::External,
        Self::Anonymous,
    ];

    /// The mechanism of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.as_str() == name)
    }

    /// The name on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::AmqPlain => "AMQPLAIN",
            Self::RabbitCrDemo => "RABBIT-CR-DEMO",
            Self::External => "EXTERNAL",
            Self::Anonymous => "ANONYMOUS",
        }
    }
}
