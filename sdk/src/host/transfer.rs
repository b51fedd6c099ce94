//! Files on their way, which go on where they broke off.

use bytes::Bytes;
use codec::Encode;
use futures::TryStreamExt;
use phala_primitives::JobId;
use reqwest::{
    Method, RequestBuilder, Response, StatusCode,
    header::{CONTENT_LENGTH, CONTENT_RANGE, RANGE},
};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::{
    fmt, io,
    io::SeekFrom,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    fs::File,
    io::{AsyncSeekExt, AsyncWriteExt},
    time::Instant,
};

use super::{Host, HostError, header};
use crate::Signer;

/// Where an upload begins, or where the host has it from.
const OFFSET: &str = "upload-offset";

/// How long the whole file is.
const LENGTH: &str = "upload-length";

/// See [`UploadToken`].
pub(super) const TOKEN: &str = "phala-upload";

/// The code of a refusal: somebody uploads the same at this moment.
const UNDER_WAY: &str = "upload_under_way";

/// How often an upload begins elsewhere because the host says so.
const OFFSETS: u32 = 3;

/// An account's word about a job until a time. What it says is in its domain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Token {
    job: JobId,
    expires: u64,
    signature: String,
}

impl Token {
    /// Signs one that is good until `expires`, in Unix seconds.
    pub(super) fn sign<const N: usize>(
        signer: &Signer,
        domain: &[u8; N],
        genesis_hash: [u8; 32],
        job: JobId,
        expires: u64,
    ) -> Self {
        let message = (domain, genesis_hash, job, expires).encode();
        Self { job, expires, signature: hex::encode(signer.pair().sign(&message).0) }
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.job, self.expires, self.signature)
    }
}

/// What lets its bearer upload for a job and start it, at whichever worker has it: the word of the job's owner. Displayed
/// as the value of the header `phala-upload`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UploadToken(Token);

impl UploadToken {
    /// Signs one that is good until `expires`, in Unix seconds.
    pub fn sign(owner: &Signer, genesis_hash: [u8; 32], job: JobId, expires: u64) -> Self {
        Self(Token::sign(owner, b"phala/upload/v1", genesis_hash, job, expires))
    }

    /// The job that it is for.
    pub fn job(&self) -> JobId {
        self.0.job
    }

    /// Until when it is good, in Unix seconds.
    pub fn expires(&self) -> u64 {
        self.0.expires
    }
}

impl fmt::Display for UploadToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What a host has of a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// All of it.
    Whole,
    /// So many bytes from its beginning, of an upload that broke off.
    Part(u64),
}

impl Host {
    /// What the host has of a blob: of an upload that broke off, what was sent with a token of the same owner, and nothing
    /// without one.
    ///
    /// # Errors
    /// See [`HostError`], as for all that follow.
    pub async fn held(&self, sha256: &[u8; 32], token: Option<&UploadToken>) -> Result<Held, HostError> {
        let mut request = self.request(Method::HEAD, &blob(sha256));
        if let Some(token) = token {
            request = request.header(TOKEN, token.to_string());
        }
        let response = self.send(request).await?;
        match response.status() {
            StatusCode::OK => Ok(Held::Whole),
            StatusCode::NOT_FOUND => Ok(Held::Part(header(&response, OFFSET).unwrap_or(0))),
            _ => Err(self.refusal(response).await),
        }
    }

    /// Whether it has a blob.
    pub async fn has_blob(&self, sha256: &[u8; 32]) -> Result<bool, HostError> {
        Ok(self.held(sha256, None).await? == Held::Whole)
    }

    /// Uploads what the host lacks of a file, and tells `progress` how many of its `bytes` are on their way. Called again
    /// after an error, it goes on where the upload broke off.
    pub async fn upload(
        &self,
        path: &Path,
        sha256: &[u8; 32],
        bytes: u64,
        token: &UploadToken,
        mut progress: impl FnMut(u64),
    ) -> Result<(), HostError> {
        let Held::Part(mut offset) = self.held(sha256, Some(token)).await? else { return Ok(()) };
        for _ in 0..OFFSETS {
            // What is longer than the file is no part of it.
            let from = if offset > bytes { 0 } else { offset };
            match self.put(path, sha256, from, bytes, token, &mut progress).await? {
                Some(there) => offset = there,
                None => return Ok(()),
            }
        }
        Err(HostError::Malformed("it takes the rest of an upload nowhere".into()))
    }

    /// Uploads a file from an offset on. What it gives is where the host wants it to begin instead.
    async fn put(
        &self,
        path: &Path,
        sha256: &[u8; 32],
        offset: u64,
        bytes: u64,
        token: &UploadToken,
        progress: &mut impl FnMut(u64),
    ) -> Result<Option<u64>, HostError> {
        let mut file = File::open(path).await?;
        file.seek(SeekFrom::Start(offset)).await?;
        let sent = Arc::new(AtomicU64::new(offset));
        let counter = sent.clone();
        let stream = tokio_util::io::ReaderStream::with_capacity(file, 256 * 1024).inspect_ok(move |chunk| {
            counter.fetch_add(chunk.len() as u64, Ordering::Relaxed);
        });
        let request = self
            .request(Method::PUT, &blob(sha256))
            .header(CONTENT_LENGTH, bytes - offset)
            .header(OFFSET, offset)
            .header(LENGTH, bytes)
            .header(TOKEN, token.to_string())
            .body(reqwest::Body::wrap_stream(stream));
        let mut sending = std::pin::pin!(request.send());
        let mut tick = tokio::time::interval(Duration::from_millis(100));
        let (mut moved, mut since) = (offset, Instant::now());
        let response = loop {
            tokio::select! {
                response = &mut sending => break response.map_err(|error| self.unreachable(&error))?,
                _ = tick.tick() => {
                    let now = sent.load(Ordering::Relaxed).min(bytes);
                    progress(now);
                    if now != moved {
                        (moved, since) = (now, Instant::now());
                    }
                    let patience = if moved == bytes { self.patience.answer } else { self.patience.stall };
                    if since.elapsed() > patience {
                        return Err(self.stalled(patience));
                    }
                }
            }
        };
        if response.status().is_success() {
            progress(bytes);
            return Ok(None);
        }
        let there: Option<u64> = header(&response, OFFSET).filter(|_| response.status() == StatusCode::CONFLICT);
        let error = self.refusal(response).await;
        // What another upload moves meanwhile is no place to begin.
        let under_way = matches!(&error, HostError::Refused { code, .. } if code == UNDER_WAY);
        if there.is_some() && !under_way { Ok(there) } else { Err(error) }
    }

    /// Downloads the encrypted output of a job into `path`: the file with a hash, of at most `limit` bytes. What is in
    /// `path` of an earlier download is kept. Returns the file's length.
    pub async fn output(
        &self,
        job: JobId,
        path: &Path,
        sha256: &[u8; 32],
        limit: u64,
        mut progress: impl FnMut(u64, Option<u64>),
    ) -> Result<u64, HostError> {
        loop {
            let (bytes, resumed) = self.download(job, path, limit, &mut progress).await?;
            if hash(path).await? == *sha256 {
                return Ok(bytes);
            }
            // Nothing of it is of use.
            File::create(path).await?;
            if !resumed {
                return Err(HostError::Malformed("the output is not the file that the receipt names".into()));
            }
        }
    }

    /// Downloads what `path` lacks of an output. Returns its length, and whether there was something before.
    async fn download(
        &self,
        job: JobId,
        path: &Path,
        limit: u64,
        progress: &mut impl FnMut(u64, Option<u64>),
    ) -> Result<(u64, bool), HostError> {
        let mut file = File::options().create(true).truncate(false).write(true).open(path).await?;
        let before = file.seek(SeekFrom::End(0)).await?;
        let request = self.request(Method::GET, &format!("/v1/jobs/{job}/output"));
        // There is no more than what is here.
        let Some(mut download) = self.rest(request, before).await? else { return Ok((before, true)) };
        if download.received == 0 {
            file.set_len(0).await?;
            file.rewind().await?;
        }
        let resumed = download.received > 0;
        let result = receive(&mut download, &mut file, limit, progress).await;
        // Also what came before an error.
        file.flush().await?;
        result.map(|()| (download.received, resumed))
    }

    /// A file from an offset on, or from its beginning when the host wants it so; `None` when it ends at the offset.
    pub(super) async fn rest(&self, request: RequestBuilder, offset: u64) -> Result<Option<Download<'_>>, HostError> {
        let request = if offset > 0 { request.header(RANGE, format!("bytes={offset}-")) } else { request };
        let response = self.send(request).await?;
        let received = match response.status() {
            StatusCode::PARTIAL_CONTENT if range_start(&response) == Some(offset) => offset,
            StatusCode::RANGE_NOT_SATISFIABLE if offset > 0 => return Ok(None),
            StatusCode::OK => 0,
            _ => return Err(self.refusal(response).await),
        };
        let total = response.content_length().and_then(|rest| received.checked_add(rest));
        Ok(Some(Download { host: self, response, received, total }))
    }
}

/// A file on its way from a host. Its bytes are whatever the host sends.
pub struct Download<'a> {
    host: &'a Host,
    response: Response,
    received: u64,
    total: Option<u64>,
}

impl Download<'_> {
    /// Where in the file the next bytes belong.
    pub fn offset(&self) -> u64 {
        self.received
    }

    /// How long the whole file is, when the host says.
    pub fn total(&self) -> Option<u64> {
        self.total
    }

    /// The next bytes; `None` at the end.
    ///
    /// # Errors
    /// [`HostError::Unreachable`].
    pub async fn next(&mut self) -> Result<Option<Bytes>, HostError> {
        let bytes = self.host.moving(self.response.chunk()).await?.map_err(|error| self.host.unreachable(&error))?;
        self.received = self.received.saturating_add(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64));
        Ok(bytes)
    }
}

/// Writes a download to a file, and counts.
async fn receive(
    download: &mut Download<'_>,
    file: &mut File,
    limit: u64,
    progress: &mut impl FnMut(u64, Option<u64>),
) -> Result<(), HostError> {
    while let Some(bytes) = download.next().await? {
        if download.received > limit {
            return Err(HostError::Malformed(format!("an output of more than {limit} bytes")));
        }
        file.write_all(&bytes).await?;
        progress(download.received, download.total);
    }
    Ok(())
}

/// The path of a blob.
pub(super) fn blob(sha256: &[u8; 32]) -> String {
    format!("/v1/blobs/{}", hex::encode(sha256))
}

/// Where the part of a file that is in a response begins: `content-range: bytes 500-999/1000`.
fn range_start(response: &Response) -> Option<u64> {
    let range: String = header(response, CONTENT_RANGE.as_str())?;
    range.strip_prefix("bytes ")?.split_once('-')?.0.parse().ok()
}

async fn hash(path: &Path) -> io::Result<[u8; 32]> {
    let path = path.to_owned();
    let hashing = move || Ok::<[u8; 32], io::Error>(Sha256::digest(std::fs::read(path)?).into());
    tokio::task::spawn_blocking(hashing).await.expect("hashing does not panic")
}
