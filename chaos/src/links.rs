//! Links between processes that can be slow or cut: TCP proxies on the loopback interface.
//!
//! A host asks its node where the light client's first peer is, so a link for JSON-RPC can replace the port in the answer
//! with that of another link. It has as many digits, and the answer is as long as before. A node takes no request that
//! names another port than its own, so such a link also replaces its own port in the head of what it carries there.

use anyhow::{Context, Result, ensure};
use std::{io, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    task::{JoinHandle, JoinSet},
    time::sleep,
};

/// How much is carried at once, in bytes.
const PIECE_BYTES: usize = 64 * 1024;

/// What a link does with bytes and connections, those that are there and new ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weather {
    /// Carries everything.
    Clear,
    /// Carries each piece later.
    Slow {
        /// How much.
        delay: Duration,
        /// How many bytes go through in a second, at most, in each direction of a connection.
        bytes_per_s: u64,
    },
    /// Carries nothing for now, and closes nothing.
    Silent,
    /// Closes connections.
    Cut,
}

/// A link to a port of the loopback interface. Ends when dropped.
pub struct Link {
    port: u16,
    weather: watch::Sender<Weather>,
    serving: JoinHandle<()>,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Link {
    /// A link to `target`. In what comes from there, the TCP port of a multiaddress is `replaced`: the first by the second.
    ///
    /// # Errors
    /// When no port is free, or the ports do not have as many digits.
    pub async fn open(target: u16, replaced: Option<(u16, u16)>) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.context("cannot find a free port")?;
        let port = listener.local_addr()?.port();
        let replaced = replaced.map(|(from, to)| Replaced {
            in_heads: Text::new(format!("127.0.0.1:{port}\r\n"), format!("127.0.0.1:{target}\r\n")),
            in_answers: Text::new(format!("/tcp/{from}/"), format!("/tcp/{to}/")),
        });
        ensure!(
            replaced.as_ref().is_none_or(|texts| texts.in_heads.keeps_length() && texts.in_answers.keeps_length()),
            "{replaced:?} differ in length: what is carried would be damaged"
        );
        let (weather, watched) = watch::channel(Weather::Clear);
        let serving = tokio::spawn(serve(listener, target, watched, replaced));
        Ok(Self { port, weather, serving })
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What it does from now on.
    pub fn set(&self, weather: Weather) {
        self.weather.send_replace(weather);
    }
}

/// What a link for JSON-RPC replaces.
#[derive(Clone, Debug)]
struct Replaced {
    /// In the head of the first request of a connection.
    in_heads: Text,
    /// In all that comes back.
    in_answers: Text,
}

/// A text and what takes its place.
#[derive(Clone, Debug)]
struct Text {
    old: String,
    new: String,
}

impl Text {
    fn new(old: String, new: String) -> Self {
        Self { old, new }
    }

    fn keeps_length(&self) -> bool {
        self.old.len() == self.new.len()
    }
}

async fn serve(listener: TcpListener, target: u16, weather: watch::Receiver<Weather>, replaced: Option<Replaced>) {
    // Aborted with this task.
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Ok((client, _)) = listener.accept() => {
                connections.spawn(carry(client, target, weather.clone(), replaced.clone()));
            }
            Some(_) = connections.join_next() => {}
            // There is no place for another connection just now.
            else => sleep(Duration::from_millis(100)).await,
        }
    }
}

async fn carry(
    client: TcpStream,
    target: u16,
    mut weather: watch::Receiver<Weather>,
    replaced: Option<Replaced>,
) -> io::Result<()> {
    let (in_heads, in_answers) = replaced.map(|texts| (texts.in_heads, texts.in_answers)).unzip();
    let mut watched = weather.clone();
    let carrying = async {
        settled(&mut weather).await;
        let server = TcpStream::connect(("127.0.0.1", target)).await?;
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = server.into_split();
        tokio::try_join!(
            pump(from_client, to_server, weather.clone(), in_heads, true),
            pump(from_server, to_client, weather.clone(), in_answers, false),
        )?;
        io::Result::Ok(())
    };
    tokio::select! {
        ended = carrying => ended,
        _ = watched.wait_for(|weather| *weather == Weather::Cut) => Ok(()),
    }
}

/// The weather, once it is not silent.
async fn settled(weather: &mut watch::Receiver<Weather>) -> Weather {
    // The sender lives as long as the link.
    weather.wait_for(|weather| *weather != Weather::Silent).await.map_or(Weather::Cut, |weather| *weather)
}

/// Carries bytes one way, and replaces a text in all of them, or in the first piece only.
async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut weather: watch::Receiver<Weather>,
    mut replaced: Option<Text>,
    in_first_only: bool,
) -> io::Result<()> {
    let mut buffer = vec![0; PIECE_BYTES];
    let mut piece = Vec::new();
    loop {
        let count = from.read(&mut buffer).await?;
        piece.extend_from_slice(&buffer[..count]);
        let mut kept = match &replaced {
            Some(text) if count > 0 => replace(&mut piece, text.old.as_bytes(), text.new.as_bytes()),
            _ => 0,
        };
        if in_first_only {
            (kept, replaced) = (0, None);
        }
        let now = settled(&mut weather).await;
        if let Weather::Slow { delay, bytes_per_s } = now {
            sleep(delay + Duration::from_secs_f64(count as f64 / bytes_per_s as f64)).await;
            settled(&mut weather).await;
        }
        let rest = piece.split_off(piece.len() - kept);
        to.write_all(&piece).await?;
        piece = rest;
        if count == 0 {
            return to.shutdown().await;
        }
    }
}

/// Replaces one text by another that is as long. Returns how many bytes at the end may be the beginning of another.
fn replace(piece: &mut [u8], old: &[u8], new: &[u8]) -> usize {
    let mut at = 0;
    while let Some(found) = piece[at..].windows(old.len()).position(|window| window == old) {
        at += found;
        piece[at..at + old.len()].copy_from_slice(new);
        at += old.len();
    }
    let longest = (old.len() - 1).min(piece.len() - at);
    (1..=longest).rev().find(|length| piece.ends_with(&old[..*length])).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::{Instant, timeout};

    #[test]
    fn ports_are_replaced_wherever_a_text_is_cut() {
        let text = b"[\"/ip4/127.0.0.1/tcp/30333/p2p/12D3\",\"/ip4/127.0.0.1/tcp/30333/ws\"] /tcp/30334/".as_slice();
        let expected =
            b"[\"/ip4/127.0.0.1/tcp/45678/p2p/12D3\",\"/ip4/127.0.0.1/tcp/45678/ws\"] /tcp/30334/".as_slice();
        for cut in 0..=text.len() {
            let (mut piece, mut sent) = (Vec::new(), Vec::new());
            for part in [&text[..cut], &text[cut..]] {
                piece.extend_from_slice(part);
                let kept = replace(&mut piece, b"/tcp/30333/", b"/tcp/45678/");
                let rest = piece.split_off(piece.len() - kept);
                sent.extend(std::mem::replace(&mut piece, rest));
            }
            // The end of the whole may look like the beginning of another port.
            sent.extend(piece);
            assert_eq!(sent, expected, "cut at {cut}");
        }
    }

    /// A server that answers each byte with two.
    async fn server() -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    while let Ok(byte) = stream.read_u8().await {
                        let _ = stream.write_all(&[byte, byte]).await;
                    }
                });
            }
        });
        port
    }

    async fn ask(stream: &mut TcpStream) -> io::Result<[u8; 2]> {
        let mut answer = [0; 2];
        stream.write_all(&[7]).await?;
        stream.read_exact(&mut answer).await?;
        Ok(answer)
    }

    #[tokio::test]
    async fn a_link_does_what_its_weather_says() {
        const PATIENCE: Duration = Duration::from_secs(10);
        let link = Link::open(server().await, None).await.unwrap();
        let mut stream = TcpStream::connect(("127.0.0.1", link.port())).await.unwrap();
        assert_eq!(ask(&mut stream).await.unwrap(), [7, 7]);

        link.set(Weather::Slow { delay: Duration::from_millis(100), bytes_per_s: 1024 });
        let start = Instant::now();
        assert_eq!(ask(&mut stream).await.unwrap(), [7, 7]);
        assert!(start.elapsed() >= Duration::from_millis(200));

        link.set(Weather::Silent);
        assert!(timeout(Duration::from_millis(200), ask(&mut stream)).await.is_err());
        link.set(Weather::Clear);
        let mut answer = [0; 2];
        timeout(PATIENCE, stream.read_exact(&mut answer)).await.unwrap().unwrap();
        assert_eq!(answer, [7, 7]);

        link.set(Weather::Cut);
        assert!(timeout(PATIENCE, ask(&mut stream)).await.unwrap().is_err());
        let mut refused = TcpStream::connect(("127.0.0.1", link.port())).await.unwrap();
        assert!(timeout(PATIENCE, ask(&mut refused)).await.unwrap().is_err());
        link.set(Weather::Clear);
        let mut again = TcpStream::connect(("127.0.0.1", link.port())).await.unwrap();
        assert_eq!(ask(&mut again).await.unwrap(), [7, 7]);
    }

    #[tokio::test]
    async fn ports_of_different_length_are_refused() {
        assert!(Link::open(1, Some((30_333, 80))).await.is_err());
    }
}
