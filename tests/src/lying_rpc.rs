//! A lying node: a proxy before a node's JSON-RPC over WebSocket that answers some calls itself.
//!
//! Whoever believes a node (a host, a user) can be told anything through it: heads that stand still or were never
//! finalized, storage that is not there, transactions taken and forgotten, answers that never come.

use anyhow::{Context, Result};
use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::{
    net::{TcpListener, TcpStream},
    task::{JoinHandle, JoinSet},
};
use tokio_tungstenite::tungstenite::Message;

/// What becomes of a call.
pub enum Answer {
    /// The node's answer.
    Honest,
    /// This result, without asking the node.
    Instead(Value),
    /// The node's result, changed.
    Changed(Box<dyn FnOnce(Value) -> Value + Send>),
    /// An error, without asking the node.
    Refused(&'static str),
    /// Nothing, for ever, without asking the node.
    Nothing,
}

/// What to do with a call, by its method and parameters.
pub type Lie = dyn FnMut(&str, &Value) -> Answer + Send;

/// The proxy. Ends when dropped.
pub struct LyingRpc {
    url: String,
    shared: Arc<Shared>,
    serving: JoinHandle<()>,
}

struct Shared {
    node: String,
    lie: Mutex<Option<Box<Lie>>>,
    /// Calls so far, by method.
    calls: Mutex<HashMap<String, usize>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl LyingRpc {
    /// Stands before the node at a WebSocket URL. Honest until told otherwise.
    ///
    /// # Errors
    /// When it cannot listen.
    pub async fn start(node: &str) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("ws://{}", listener.local_addr()?);
        let shared = Arc::new(Shared { node: node.to_owned(), lie: Mutex::default(), calls: Mutex::default() });
        let serving = tokio::spawn(serve(listener, shared.clone()));
        Ok(Self { url, shared, serving })
    }

    /// Its own URL.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Lies from now on, on all connections.
    pub fn lie(&self, lie: impl FnMut(&str, &Value) -> Answer + Send + 'static) {
        *lock(&self.shared.lie) = Some(Box::new(lie));
    }

    /// Passes everything from now on.
    pub fn be_honest(&self) {
        *lock(&self.shared.lie) = None;
    }

    /// How often a method was called so far.
    pub fn calls(&self, method: &str) -> usize {
        lock(&self.shared.calls).get(method).copied().unwrap_or(0)
    }
}

impl Drop for LyingRpc {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    // Dropped, and so aborted, with this task.
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Ok((stream, _)) = listener.accept() => drop(connections.spawn(connection(stream, shared.clone()))),
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn connection(stream: TcpStream, shared: Arc<Shared>) -> Result<()> {
    let mut client = tokio_tungstenite::accept_async(stream).await?;
    let (mut node, _) = tokio_tungstenite::connect_async(shared.node.as_str()).await?;
    let mut changes: HashMap<String, Box<dyn FnOnce(Value) -> Value + Send>> = HashMap::new();
    loop {
        tokio::select! {
            message = client.next() => match message.context("the client hung up")?? {
                Message::Text(text) => {
                    let call: Value = serde_json::from_str(text.as_str())?;
                    let id = call["id"].clone();
                    let answer = match shared.answer(&call) {
                        Answer::Honest => None,
                        Answer::Changed(change) => {
                            changes.insert(id.to_string(), change);
                            None
                        }
                        Answer::Instead(result) => Some(json!({ "jsonrpc": "2.0", "id": id, "result": result })),
                        Answer::Refused(why) => {
                            let error = json!({ "code": -32000, "message": why });
                            Some(json!({ "jsonrpc": "2.0", "id": id, "error": error }))
                        }
                        Answer::Nothing => continue,
                    };
                    match answer {
                        Some(answer) => client.send(Message::text(answer.to_string())).await?,
                        None => node.send(Message::Text(text)).await?,
                    }
                }
                Message::Close(_) => return Ok(()),
                // Pings are answered by the library.
                _ => {}
            },
            message = node.next() => match message.context("the node hung up")?? {
                Message::Text(text) if changes.is_empty() => client.send(Message::Text(text)).await?,
                Message::Text(text) => {
                    let mut answer: Value = serde_json::from_str(text.as_str())?;
                    let change = answer.get("id").and_then(|id| changes.remove(&id.to_string()));
                    if let (Some(change), Some(result)) = (change, answer.get_mut("result")) {
                        *result = change(result.take());
                    }
                    client.send(Message::text(answer.to_string())).await?;
                }
                Message::Close(_) => return Ok(()),
                _ => {}
            },
        }
    }
}

impl Shared {
    fn answer(&self, call: &Value) -> Answer {
        let method = call["method"].as_str().unwrap_or_default();
        *lock(&self.calls).entry(method.to_owned()).or_default() += 1;
        match &mut *lock(&self.lie) {
            Some(lie) => lie(method, &call["params"]),
            None => Answer::Honest,
        }
    }
}
