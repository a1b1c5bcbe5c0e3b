//! Why a command could not be carried out, and the exit code for it.

use std::io;

use crate::admin::reply::ErrorDetail;
use crate::demo::control::ControlError;

/// Why a command could not be carried out.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// The arguments make no sense, or a file is invalid.
    #[error("{0}")]
    Usage(String),
    /// Nobody answers, or not as an instance would.
    #[error("no pointsman answers at {address}: {reason}; is it running? --admin names another socket or URL")]
    Unreachable { address: String, reason: String },
    /// What was asked for is not there: a negative answer rather than a failure.
    #[error("{}", show(.0))]
    Negative(ErrorDetail),
    /// The instance refuses.
    #[error("{}", show(.0))]
    Refused(ErrorDetail),
    /// The demo does not answer, or refuses.
    #[error(transparent)]
    Demo(#[from] ControlError),
    /// The program itself failed.
    #[error("{0}")]
    Program(String),
    /// Standard output is gone.
    #[error("the output cannot be written: {0}")]
    Output(#[from] io::Error),
}

impl Failure {
    pub(super) fn exit_code(&self) -> u8 {
        match self {
            Self::Negative(_) => 1,
            Self::Usage(_) => 2,
            Self::Unreachable { .. } | Self::Demo(ControlError::Connect { .. } | ControlError::Broken { .. }) => 3,
            Self::Refused(_) | Self::Demo(ControlError::Refused(_)) => 4,
            Self::Program(_) | Self::Output(_) => 5,
        }
    }
}

fn show(detail: &ErrorDetail) -> String {
    let clean = super::show::clean;
    let mut text = format!("{}\n  {}", clean(&detail.message), clean(&detail.mend));
    for candidate in &detail.candidates {
        text.push_str(&format!("\n    {}", clean(candidate)));
    }
    text
}
