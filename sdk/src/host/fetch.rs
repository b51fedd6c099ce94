//! What the host of the worker that has a job now gets from those that had the job before.

use phala_primitives::{Hash, JobId, input::hex_bytes};
use reqwest::Method;
use serde::Deserialize;
use std::fmt;

use super::{
    Host, HostError,
    transfer::{Download, Token, blob},
};
use crate::Signer;

/// See [`FetchToken`].
const TOKEN: &str = "phala-fetch";

/// What lets its bearer fetch the inputs of a job from any host that keeps them, while the job is with a worker of the operator
/// who signed it. Displayed as the value of the header `phala-fetch`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchToken(Token);

impl FetchToken {
    /// Signs one that is good until `expires`, in Unix seconds.
    pub fn sign(operator: &Signer, genesis_hash: [u8; 32], job: JobId, expires: u64) -> Self {
        Self(Token::sign(operator, b"phala/fetch/v1", genesis_hash, job, expires))
    }
}

impl fmt::Display for FetchToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What a host says that it keeps of a job's inputs.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct KeptInputs {
    /// SHA-256 of the encrypted job input.
    #[serde(with = "hex_bytes")]
    pub input: Hash,
    /// All blobs that it keeps for the job, the job input among them.
    pub blobs: Vec<KeptBlob>,
}

/// One of [`KeptInputs`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct KeptBlob {
    /// SHA-256 of its bytes.
    #[serde(with = "hex_bytes")]
    pub sha256: Hash,
    /// Its length.
    pub bytes: u64,
}

impl Host {
    /// What the host keeps of a job's inputs.
    ///
    /// # Errors
    /// See [`HostError`], as for all that follow.
    pub async fn inputs(&self, job: JobId, token: &FetchToken) -> Result<KeptInputs, HostError> {
        let path = format!("/v1/jobs/{job}/inputs");
        self.json(&path, self.request(Method::GET, &path).header(TOKEN, token.to_string())).await
    }

    /// One of a job's inputs, from an offset on; `None` when it ends there. Whether it is the blob with this hash, its receiver
    /// finds out.
    pub async fn blob(
        &self,
        sha256: &Hash,
        offset: u64,
        token: &FetchToken,
    ) -> Result<Option<Download<'_>>, HostError> {
        let request = self.request(Method::GET, &blob(sha256)).header(TOKEN, token.to_string());
        self.rest(request, offset).await
    }
}
