//! What a client that asks a sidecar for its key may get instead: anything, in pieces, or nothing. It returns in time,
//! with an error or an answer, and does not panic.
//!
//! `TMPDIR=/dev/shm cargo +nightly fuzz run http_client -- -max_total_time=300 -timeout=10`
#![no_main]

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::OnceLock;
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use framebuffer::Connect;
use framebuffer::http::Endpoint;
use libfuzzer_sys::fuzz_target;

/// The longest that an answer may take.
const LIMIT: Duration = Duration::from_millis(200);
/// What the limit is exceeded by, on a busy machine.
const SLACK: Duration = Duration::from_secs(5);

/// A server that answers each connection with the pieces it was given.
struct Server {
    url: String,
    pieces: Sender<Vec<Vec<u8>>>,
}

fn server() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(|| {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("its address"));
        let (pieces, answers) = channel::<Vec<Vec<u8>>>();
        thread::spawn(move || {
            let mut answer = Vec::new();
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { continue };
                // The newest: a client may connect more than once.
                while let Ok(newer) = answers.try_recv() {
                    answer = newer;
                }
                let _ = stream.set_read_timeout(Some(LIMIT));
                let _ = stream.read(&mut [0; 4096]);
                for piece in &answer {
                    if stream.write_all(piece).and_then(|()| stream.flush()).is_err() {
                        break;
                    }
                }
            }
        });
        Server { url, pieces }
    })
}

fuzz_target!(|data: (Vec<Vec<u8>>, bool)| {
    let (mut pieces, with_head) = data;
    if with_head {
        let length: usize = pieces.iter().map(Vec::len).sum();
        pieces.insert(0, format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n").into_bytes());
    }
    let server = server();
    server.pieces.send(pieces).expect("the server runs");
    let began = Instant::now();
    if with_head {
        // The body is what is strange: it is no key, or one of a ring that is not there.
        assert!(Connect::new(&server.url).deadline(LIMIT).dir("/nonexistent").connect().is_err());
    } else {
        let endpoint: Endpoint = server.url.parse().expect("a URL");
        if let Ok(answer) = endpoint.get("/get_key", LIMIT) {
            assert!(answer.body.len() <= 256 << 10, "a body beyond the limit");
        }
    }
    assert!(began.elapsed() < LIMIT + SLACK, "the deadline did not hold");
});
