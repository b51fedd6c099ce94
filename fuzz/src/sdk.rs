//! What a user's machine reads: results and answers of hosts, which nobody trusts; files of keys; what the user types.

use codec::Encode;
use phala_attestation::{Role, simulated::development_root};
use phala_primitives::{Outcome, input::is_file_name};
use phala_sdk::{
    Account, Signer, amount,
    encryption::{Identity, parse_recipient},
    host::{FetchToken, Host},
    job::Output,
    key::keystore_account,
};
use std::{
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, LazyLock, Mutex, PoisonError},
    thread,
    time::Duration,
};
use tar::{Builder, EntryType, Header};
use tokio::{runtime::Runtime, time::timeout};

use crate::{Target, evidence, signed};

pub(crate) const TARGETS: &[Target] = &[
    Target {
        name: "amounts",
        run: amounts,
        seeds: || {
            texts(&["0", "1.5", ".5", "1_000 PHA", "0.000000000001pha", "340282366920938463463374607.431768211455"])
        },
        tokens: &[b"PHA", b".", b"_", b" ", b"0000000000000000000000000", b"e9", "\u{a0}".as_bytes()],
        memory_per_byte: Some(64),
    },
    Target {
        name: "archives",
        run: archives,
        seeds: archive_seeds,
        tokens: &[
            b"stdout",
            b"stderr",
            b"files/",
            b"../",
            b"/",
            b"\0",
            b"ustar\0",
            b"ustar  \0",
            b"path=",
            b"0000644\0",
        ],
        memory_per_byte: Some(64),
    },
    Target {
        name: "endpoints",
        run: endpoints,
        seeds: || texts(&["http://127.0.0.1:8080", "https://worker.example:8443/", "ftp://x", "http://[::1]/a?b#c"]),
        tokens: &[b"http://", b"https://", b"@", b"[", b"]", b"/", b":0", b":65536", b"%00", b"\n", "ß".as_bytes()],
        memory_per_byte: None,
    },
    Target {
        name: "host_answers",
        run: host_answers,
        seeds: host_answer_seeds,
        tokens: &[b"\"statement\"", b"\"receipt\"", b"\"error\"", b"\"retry_after\"", b"0x", b"null", b"[[[[[[[["],
        memory_per_byte: None,
    },
    Target {
        name: "keys",
        run: keys,
        seeds: key_seeds,
        tokens: &[
            b"//",
            b"/",
            b"///",
            b"0x",
            b"//Alice",
            b"AGE-SECRET-KEY-1",
            b"age1",
            b"abandon ",
            b"about",
            b"\"encoded\"",
            b"\"address\"",
            b"\"encoding\"",
        ],
        memory_per_byte: Some(512),
    },
];

fn texts(texts: &[&str]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

/// Amounts of PHA. What is read is shown as what is read as the same.
pub fn amounts(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(amount) = amount::parse(text) {
        assert_eq!(amount::parse(&amount::format(amount)), Ok(amount));
        assert_eq!(amount::parse(&amount::format_number(amount)), Ok(amount));
    }
}

/// Results: archives that a program's author has a hand in. Their files stay in the folder of the result, and zeros after
/// the end, by which results are padded, make no difference.
pub fn archives(data: &[u8]) {
    let Ok(output) = Output::read(data) else { return };
    let stays = |path: &String| path.split('/').all(is_file_name);
    assert!(output.files.keys().all(stays), "a file leaves its folder");
    let bytes = output.stdout.len() + output.stderr.len() + output.files.values().map(Vec::len).sum::<usize>();
    assert!(bytes <= data.len(), "more came out than was in");
    let padded = [data, &[0; 2048]].concat();
    assert!(Output::read(&padded).is_ok_and(|again| again == output), "padding makes a difference");
}

fn archive(entries: &[(&str, &[u8], EntryType)]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for (path, content, kind) in entries {
        let mut header = Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_entry_type(*kind);
        // Whatever it is: `set_path` would refuse some.
        header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
        header.set_cksum();
        builder.append(&header, *content).expect("memory takes every byte");
    }
    builder.into_inner().expect("memory takes every byte")
}

fn archive_seeds() -> Vec<Vec<u8>> {
    let file = EntryType::Regular;
    let long = "long/".repeat(40);
    let mut deep = Builder::new(Vec::new());
    let mut header = Header::new_gnu();
    header.set_size(1);
    deep.append_data(&mut header, format!("files/{long}name"), &b"x"[..]).expect("memory takes every byte");
    vec![
        archive(&[("stdout", b"out", file), ("stderr", b"", file), ("files/a.csv", b"1,2", file)]),
        archive(&[("files", b"", EntryType::Directory), ("files/by/month.csv", &[7; 1000], file)]),
        archive(&[("../evil", b"x", file)]),
        archive(&[("files/a", b"", EntryType::Symlink)]),
        archive(&[("stdout", b"a", file), ("stdout", b"b", file)]),
        deep.into_inner().expect("memory takes every byte"),
    ]
}

/// A worker's endpoint, as its operator has put it on chain.
pub fn endpoints(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(host) = Host::new(text) {
        assert!(Host::new(host.url()).is_ok_and(|again| again.url() == host.url()));
    }
}

/// Accounts, keys and keystore files. Those that are read are shown as what is read as the same.
pub fn keys(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(account) = text.parse::<Account>() {
        assert_eq!(account.to_string().parse(), Ok(account));
    }
    if let Ok(account) = keystore_account(text) {
        assert_eq!(account.to_string().parse(), Ok(account));
        // No seed has parameters with which this would take long.
        let _ = Signer::from_keystore_json(text, "secret");
    }
    // Each part of a long one takes a while.
    if text.len() < 1000
        && let Ok(signer) = Signer::from_uri(text)
    {
        assert_eq!(signer.to_string(), signer.account().to_string());
    }
    if let Ok(identity) = text.parse::<Identity>() {
        assert_eq!(identity.secret().as_str(), text.trim().to_ascii_uppercase());
    }
    if let Ok(recipient) = parse_recipient(text) {
        assert!(parse_recipient(&recipient.to_string()).is_ok());
    }
}

fn key_seeds() -> Vec<Vec<u8>> {
    let keystore = format!(
        r#"{{"encoded":"{}","encoding":{{"content":["pkcs8","sr25519"],"type":["scrypt","xsalsa20-poly1305"],"version":"3"}},
        "address":"5CfWTDh7XxJ2yrayqQ2aJnnZAH5v5XaF1oJFfH5QCpbfP9v8","meta":{{"name":"Bob"}}}}"#,
        "A".repeat(100)
    );
    let seed = format!("0x{}", "5a".repeat(32));
    texts(&[
        "//Alice",
        "//Alice/soft//hard///password",
        "abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon about",
        "5GrwvaEF5zXb26Fz9rcQpDWS57CtERHpNehXCPcNoHGKutQY",
        "AGE-SECRET-KEY-1QURSWPC8QURSWPC8QURSWPC8QURSWPC8QURSWPC8QURSWPC8QURSKMP32K",
        "age1zvkyg2lqzraa2lnjvqej32nkuu0ues2s82hzrye869xeexvn73equnujwj",
        &seed,
        &keystore,
    ])
}

/// How long an answer may keep a client.
const PATIENCE: Duration = Duration::from_secs(20);

/// A host that answers every request in the same way.
struct Liar {
    host: Host,
    token: FetchToken,
    answer: Arc<Mutex<Vec<u8>>>,
    runtime: Runtime,
}

static LIAR: LazyLock<Mutex<Liar>> = LazyLock::new(|| {
    let listener = TcpListener::bind("127.0.0.1:0").expect("there is a port");
    let address = listener.local_addr().expect("a listener has an address");
    let answer = Arc::new(Mutex::new(Vec::new()));
    let shared = answer.clone();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let answer = shared.clone();
            thread::spawn(move || serve(stream, &answer));
        }
    });
    let host = Host::new(&format!("http://{address}")).expect("it is a URL");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let operator = Signer::from_uri("//Alice").expect("it is a key");
    Mutex::new(Liar { host, token: FetchToken::sign(&operator, [1; 32], 5, u64::MAX), answer, runtime })
});

/// Answers requests without a body until the client hangs up.
fn serve(stream: TcpStream, answer: &Mutex<Vec<u8>>) {
    let Ok(mut writer) = stream.try_clone() else { return };
    let mut lines = BufReader::new(stream).split(b'\n');
    while let Some(Ok(line)) = lines.next() {
        if line.trim_ascii().is_empty() {
            let answer = answer.lock().unwrap_or_else(PoisonError::into_inner).clone();
            if writer.write_all(&answer).is_err() {
                return;
            }
        }
    }
}

/// Answers of a host to the SDK: the first byte says to which request and with which status, the rest is the body. Whatever
/// it says, the SDK comes to an end with it.
pub fn host_answers(data: &[u8]) {
    let Some((kind, body)) = data.split_first() else { return };
    let statuses = ["200 OK", "404 Not Found", "409 Conflict", "429 Too Many Requests", "503 Service Unavailable"];
    let status = statuses[usize::from(kind / 5) % statuses.len()];
    let head = format!("HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n", body.len());
    let liar = LIAR.lock().unwrap_or_else(PoisonError::into_inner);
    *liar.answer.lock().unwrap_or_else(PoisonError::into_inner) = [head.as_bytes(), body].concat();
    let asked = async {
        match kind % 5 {
            0 => liar.host.evidence(&[5; 32]).await.map(drop),
            1 => liar.host.registration().await.map(drop),
            2 => liar.host.job(5).await.map(drop),
            3 => liar.host.receipt(5).await.map(drop),
            _ => liar.host.inputs(5, &liar.token).await.map(drop),
        }
    };
    let answered = liar.runtime.block_on(async { timeout(PATIENCE, asked).await });
    let result = answered.expect("an answer that came keeps nobody waiting");
    assert!(result.is_err() || status == "200 OK", "a refusal was taken for an answer");
}

fn hex(value: &impl Encode) -> String {
    value.encode().iter().fold("0x".to_owned(), |text, byte| format!("{text}{byte:02x}"))
}

fn host_answer_seeds() -> Vec<Vec<u8>> {
    let (statement, evidence) =
        evidence::bundle(&evidence::statement(Role::Worker), &development_root(), 1, u64::MAX, false);
    let (statement, evidence) = (hex(&statement), hex(&evidence));
    let performance = hex(&signed::performance());
    let receipt = hex(&signed::receipt(Outcome::Completed { exit_code: 0 }));
    let hash = "05".repeat(32);
    let bodies = [
        (0, format!(r#"{{"statement":"{statement}","evidence":"{evidence}"}}"#)),
        (
            1,
            format!(
                r#"{{"statement":"{statement}","evidence":"{evidence}","performance":"{performance}","endpoint":null}}"#
            ),
        ),
        (2, r#"{"job":5,"state":"refused","refusal":{"reason":"not now","retry":true},"receipt_block":null}"#.into()),
        (3, format!(r#"{{"receipt":"{receipt}"}}"#)),
        (4, format!(r#"{{"job":5,"input":"{hash}","blobs":[{{"sha256":"{hash}","bytes":5}}]}}"#)),
    ];
    let refusal = r#"{"error":{"code":"busy","message":"too many","hint":"wait","retry_after":5}}"#;
    let refusals = (1..5).map(|status| (5 * status, refusal.to_owned()));
    bodies.into_iter().chain(refusals).map(|(kind, body)| [&[kind][..], body.as_bytes()].concat()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_good_answer_is_understood() {
        let seeds = host_answer_seeds();
        let liar = LIAR.lock().unwrap();
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", seeds[0].len() - 1);
        *liar.answer.lock().unwrap() = [head.as_bytes(), &seeds[0][1..]].concat();
        liar.runtime.block_on(liar.host.evidence(&[5; 32])).unwrap();
    }
}
