//! A host of a test's making.

use std::sync::{Arc, Mutex};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpListener,
    task::JoinHandle,
};

use super::Host;

/// What a fake host does with one connection: it reads the head of a request and `body` bytes after it, writes `answer`
/// as it is, and hangs up.
pub(crate) struct Step {
    body: usize,
    answer: Vec<u8>,
}

impl Step {
    /// Answers with a status and headers, which each end with a line break, and a body.
    pub(crate) fn answer(body: usize, status: &str, headers: &str, content: &[u8]) -> Self {
        let length = content.len();
        let head = format!("HTTP/1.1 {status}\r\n{headers}content-length: {length}\r\nconnection: close\r\n\r\n");
        Self { body, answer: [head.as_bytes(), content].concat() }
    }

    /// The same, but hangs up when it has written `sent` bytes of its content.
    pub(crate) fn broken(status: &str, headers: &str, content: &[u8], sent: usize) -> Self {
        let mut step = Self::answer(0, status, headers, content);
        step.answer.truncate(step.answer.len() - content.len() + sent);
        step
    }
}

/// The head and the body of a request.
type Seen = (String, Vec<u8>);

/// A host that does what it is told, one connection after the other.
pub(crate) struct FakeHost {
    pub host: Host,
    seen: Arc<Mutex<Vec<Seen>>>,
    serving: JoinHandle<()>,
}

impl FakeHost {
    pub(crate) async fn new(steps: Vec<Step>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = Host::new(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let requests = seen.clone();
        let serving = tokio::spawn(async move {
            for step in steps {
                let mut stream = BufReader::new(listener.accept().await.unwrap().0);
                let mut head = String::new();
                while !head.ends_with("\r\n\r\n") && stream.read_line(&mut head).await.unwrap() > 0 {}
                let mut body = vec![0; step.body];
                stream.read_exact(&mut body).await.unwrap();
                requests.lock().unwrap().push((head.to_lowercase(), body));
                stream.write_all(&step.answer).await.unwrap();
            }
        });
        Self { host, seen, serving }
    }

    /// Every request so far: its head in lower case, and as much of its body as was read.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

impl Drop for FakeHost {
    fn drop(&mut self) {
        self.serving.abort();
    }
}
