use std::fmt;
use subxt::error as sx;

/// Why no connection came about.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The URL is no WebSocket URL.
    #[error("`{0}` is not the URL of a node: expected ws://host:port or wss://host:port")]
    Url(String),
    /// Nobody answers there.
    #[error("cannot reach a node at {url}: {reason}")]
    Unreachable {
        /// Where.
        url: String,
        /// What happened.
        reason: String,
    },
}

/// Why the chain could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ChainError {
    /// The node refused a request, in its own words.
    #[error("the node refused: {0}")]
    Refused(String),
    /// The connection failed, or the node lacks the block.
    #[error("cannot read the chain: {0}")]
    Unavailable(String),
    /// The node has no state of the block any more.
    #[error("the node has no state of the block any more: a fork has replaced it, or it is too old; try again")]
    Discarded,
    /// The node's runtime is not the one that this program was built for.
    #[error("the chain's runtime does not fit this program ({0}); use a release that matches the chain")]
    Incompatible(String),
    /// A value that the node gave does not decode.
    #[error("the node gave a malformed {0}")]
    Malformed(&'static str),
}

impl ChainError {
    /// Whether the newest block may be read though this one could not.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::Discarded)
    }

    pub(crate) fn from_rpc(error: subxt::rpcs::Error) -> Self {
        match error {
            subxt::rpcs::Error::User(error) => match super::user_error(&error) {
                reason if reason.contains("State already discarded") => Self::Discarded,
                reason => Self::Refused(reason),
            },
            error => Self::Unavailable(error.to_string()),
        }
    }
}

impl From<sx::BackendError> for ChainError {
    fn from(error: sx::BackendError) -> Self {
        match error {
            sx::BackendError::Rpc(sx::RpcError::ClientError(error)) => Self::from_rpc(error),
            error => Self::Unavailable(error.to_string()),
        }
    }
}

impl From<sx::OnlineClientAtBlockError> for ChainError {
    fn from(error: sx::OnlineClientAtBlockError) -> Self {
        match error {
            sx::OnlineClientAtBlockError::CannotGetCurrentBlock { reason }
            | sx::OnlineClientAtBlockError::CannotGetBlockHash { reason, .. }
            | sx::OnlineClientAtBlockError::CannotGetBlockHeader { reason, .. }
            | sx::OnlineClientAtBlockError::CannotGetSpecVersion { reason, .. } => reason.into(),
            error => Self::Unavailable(error.to_string()),
        }
    }
}

impl From<sx::BlocksError> for ChainError {
    fn from(error: sx::BlocksError) -> Self {
        Self::Unavailable(error.to_string())
    }
}

impl From<sx::EventsError> for ChainError {
    fn from(error: sx::EventsError) -> Self {
        match error {
            sx::EventsError::CannotFetchEventBytes(error) => error.into(),
            error => Self::Incompatible(error.to_string()),
        }
    }
}

impl From<sx::StorageError> for ChainError {
    fn from(error: sx::StorageError) -> Self {
        match error {
            sx::StorageError::CannotFetchValue(error)
            | sx::StorageError::CannotIterateValues(error)
            | sx::StorageError::StreamFailure(error) => error.into(),
            sx::StorageError::IncompatibleCodegen
            | sx::StorageError::PalletNameNotFound(_)
            | sx::StorageError::StorageEntryNotFound { .. } => Self::Incompatible(error.to_string()),
            error => Self::Unavailable(error.to_string()),
        }
    }
}

impl From<sx::ConstantError> for ChainError {
    fn from(error: sx::ConstantError) -> Self {
        Self::Incompatible(error.to_string())
    }
}

/// Why a transaction did not do what it should.
#[derive(Debug, thiserror::Error)]
pub enum SubmitError {
    /// The transaction is in a block, but the runtime refused what it asks. Its fee is gone.
    #[error(transparent)]
    Dispatch(DispatchError),
    /// The node did not take the transaction, or threw it away: nothing happened and nothing was paid.
    #[error("the transaction is not acceptable: {0}")]
    Invalid(String),
    /// The account cannot pay the fee: nothing happened.
    #[error("the account {0} cannot pay the transaction's fee; transfer some PHA to it first")]
    CannotPay(crate::Account),
    /// The transaction was not seen in a block in time. It may be in one, or still get into one.
    #[error(
        "after {seconds} s it is not known whether a block has the transaction{trouble}; it may still get into one up to \
         block {last_block}"
    )]
    Unresolved {
        /// How long it was looked for.
        seconds: u64,
        /// The last block in which it is valid.
        last_block: u32,
        /// What kept it from being found: nothing, or a colon and a sentence.
        trouble: String,
    },
    /// The chain could not be read or the connection failed, before anything was submitted.
    #[error(transparent)]
    Chain(#[from] ChainError),
}

/// Why the runtime refused a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DispatchError {
    /// The pallet, or nothing where the error is not a pallet's.
    pub pallet: String,
    /// The error's name.
    pub error: String,
    /// What the runtime's documentation says about it.
    pub docs: String,
    /// What to do about it, where we know.
    pub advice: Option<&'static str>,
}

impl fmt::Display for DispatchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the chain refused: ")?;
        match self.docs.trim().trim_end_matches('.') {
            "" if self.pallet.is_empty() => f.write_str(&self.error)?,
            "" => write!(f, "{}::{}", self.pallet, self.error)?,
            docs => write!(f, "{docs} ({}::{})", self.pallet, self.error)?,
        }
        if let Some(advice) = self.advice {
            write!(f, "; {advice}")?;
        }
        Ok(())
    }
}

impl std::error::Error for DispatchError {}

impl DispatchError {
    pub(crate) fn new(error: &sx::DispatchError) -> Self {
        let plain = |error: String| Self { pallet: String::new(), error, docs: String::new(), advice: None };
        let mut this = match error {
            sx::DispatchError::Module(module) => match module.details() {
                Ok(details) => Self {
                    pallet: details.pallet.name().to_owned(),
                    error: details.variant.name.clone(),
                    docs: details.variant.docs.join(" "),
                    advice: None,
                },
                Err(_) => plain(module.details_string()),
            },
            sx::DispatchError::BadOrigin => plain("this account may not do that".into()),
            sx::DispatchError::Token(error) => plain(error.to_string().trim_end_matches('.').to_lowercase()),
            other => plain(other.to_string().trim_end_matches('.').into()),
        };
        this.advice = this.find_advice();
        this
    }

    fn find_advice(&self) -> Option<&'static str> {
        Some(match (self.pallet.as_str(), self.error.as_str()) {
            ("", "funds are unavailable") => "the account holds too little PHA: see `phala balance`",
            ("Balances", "InsufficientBalance" | "Expendability") => {
                "the account holds too little PHA: see `phala balance`"
            }
            ("Sudo", "RequireSudo") => "only the chain's sudo key may do this; on a development chain that is //Alice",
            ("Jobs", "InsufficientBalance") => "the account holds too little PHA: see `phala balance`",
            ("Jobs", "UnknownApp") => "publish it first with `phala app publish`, or see `phala app list`",
            ("Jobs", "UnknownJob") => {
                "ended jobs are forgotten after a while; `phala job list` shows those that are known"
            }
            ("Jobs", "NotPublisher") => "ask the publisher to run it, or publish your own copy",
            ("Jobs", "AppRetired") => "its publisher has taken it back; publish your own copy",
            ("Jobs", "DeadlineTooSoon") => {
                "give a deadline further away with `--deadline BLOCKS`, or a shorter `--wall-time`"
            }
            ("Jobs", "DeadlineTooFar") => "give a nearer deadline with `--deadline BLOCKS`, or a shorter `--wall-time`",
            ("Jobs", "PriceBelowMarket") => {
                "offer more with `--max-price`, or lower `--fuel`; `phala worker list` shows what workers ask"
            }
            ("Jobs", "LimitsOutOfRange") => "see the limits in `phala job run --help`",
            ("Jobs", "AlreadyAssigned") => {
                "its worker will end it, or lose it and its escrow comes back at the deadline"
            }
            ("Attestation" | "Workers", "ImageNotAllowed") => {
                "the enclave's image is not on the chain's list of allowed images; governance decides about it"
            }
            ("Attestation", "StaleStatement") | ("Workers", "StaleReport" | "StaleHeartbeat" | "OldHeartbeat") => {
                "the enclave is behind the chain, or the submission took too long; try again"
            }
            ("Workers", "NotOperator") | ("Jobs", "NotOwner") | ("Apps", "NotPublisher") => {
                "sign with the owner's key: `--key NAME`"
            }
            ("Apps", "UnknownApp") => "see `phala app list --mine`",
            ("Apps", "AlreadyRetired") => "it goes by itself when its last job has ended",
            ("Workers", "HasJobs") => "first `phala worker drain`, then wait until `phala worker show` shows no jobs",
            ("Workers", "InvalidEndpoint") => "give a URL such as https://worker.example.org",
            ("Attestation", "SimulatedForbidden") => "this chain takes only workers with a real TEE",
            ("Attestation", "PlatformTaken") => "deregister the platform's other worker first",
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::value::to_raw_value;

    #[test]
    fn a_block_that_a_fork_has_replaced_is_no_refusal() {
        let refusal = |data: &str| -> subxt::rpcs::Error {
            let data = Some(to_raw_value(data).unwrap());
            subxt::rpcs::UserError { code: 4003, message: "Client error".into(), data }.into()
        };
        let from = |data: &str| ChainError::from_rpc(refusal(data));
        const DISCARDED: &str = "UnknownBlock: State already discarded for 0x69d9c9d76753aea7";
        let discarded = from(DISCARDED);
        assert!(matches!(discarded, ChainError::Discarded) && discarded.is_transient(), "{discarded}");
        let backend = || sx::BackendError::Rpc(sx::RpcError::ClientError(refusal(DISCARDED)));
        for error in [
            sx::StorageError::CannotFetchValue(backend()),
            sx::StorageError::CannotIterateValues(backend()),
            sx::StorageError::StreamFailure(backend()),
        ] {
            assert!(matches!(error.into(), ChainError::Discarded));
        }
        assert_eq!(from("Execution failed").to_string(), "the node refused: Client error: Execution failed");
    }
}
