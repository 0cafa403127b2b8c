//! Clients, good ones and others.

use super::*;

/// Longer than any of this takes.
const LONG: Duration = Duration::from_secs(20);

/// Runs `clients` against a server that answers with `body`.
fn with_server(patience: Duration, body: &str, clients: impl FnOnce(SocketAddr)) {
    struct Stop<'a>(&'a AtomicBool);
    impl Drop for Stop<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let stop = AtomicBool::new(false);
    let listener = bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let addr = listener.local_addr().unwrap();
    std::thread::scope(|scope| {
        let make = || match body {
            "" => anyhow::bail!("no numbers"),
            body => Ok(body.to_string()),
        };
        let (listener, stop) = (&listener, &stop);
        let server = scope.spawn(move || answer(listener, patience, make, stop));
        let told = Stop(stop);
        clients(addr);
        drop(told);
        server.join().unwrap().unwrap();
    });
}

fn connect(addr: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(LONG)).unwrap();
    stream.set_write_timeout(Some(LONG)).unwrap();
    stream
}

/// Sends `bytes`; returns all that comes.
fn ask(addr: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = connect(addr);
    stream.write_all(bytes).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

fn get(addr: SocketAddr) -> String {
    ask(addr, b"GET /metrics HTTP/1.1\r\nHost: x\r\nAccept: */*\r\n\r\n")
}

#[test]
fn metrics() {
    with_server(LONG, "# EOF\n", |addr| {
        let head = "HTTP/1.1 200 OK\r\nContent-Type: application/openmetrics-text; \
                        version=1.0.0; charset=utf-8\r\nContent-Length: 6\r\nConnection: \
                        close\r\n\r\n";
        assert_eq!(get(addr), format!("{head}# EOF\n"));
        assert_eq!(ask(addr, b"GET /metrics?a=b HTTP/1.0\n\n"), format!("{head}# EOF\n"));
        assert_eq!(ask(addr, b"HEAD /metrics HTTP/1.1\r\n\r\n"), head);
    });
}

#[test]
fn what_is_not_there() {
    with_server(LONG, "# EOF\n", |addr| {
        for target in ["/", "/metrics/", "/../metrics", "*", "/metricsx?/metrics"] {
            let answer = ask(addr, format!("GET {target} HTTP/1.1\r\n\r\n").as_bytes());
            assert!(answer.starts_with("HTTP/1.1 404 "), "{target}: {answer}");
            assert!(answer.ends_with("\r\n\r\nnot here: try /metrics\n"), "{answer}");
        }
        let head = ask(addr, b"HEAD / HTTP/1.1\r\n\r\n");
        assert!(head.starts_with("HTTP/1.1 404 ") && head.ends_with("\r\n\r\n"), "{head}");
        for method in ["POST", "PUT", "DELETE", "OPTIONS", "get"] {
            let bytes = format!("{method} /metrics HTTP/1.1\r\nContent-Length: 4\r\n\r\nbody");
            let answer = ask(addr, bytes.as_bytes());
            assert!(answer.starts_with("HTTP/1.1 405 "), "{method}: {answer}");
            assert!(answer.contains("\r\nAllow: GET, HEAD\r\n"), "{answer}");
        }
    });
}

#[test]
fn an_error_is_an_answer() {
    with_server(LONG, "", |addr| {
        let answer = get(addr);
        assert!(answer.starts_with("HTTP/1.1 500 "), "{answer}");
        assert!(answer.ends_with("\r\n\r\nno numbers\n"), "{answer}");
    });
}

#[test]
fn hostile_bytes() {
    with_server(LONG, "# EOF\n", |addr| {
        let garbage: [&[u8]; 6] = [
            b"\x00\x01\x02\xff\r\n\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
            b"GET\r\n\r\n",
            b"GET /metrics HTTP/9.9\r\n\r\n",
            b"GET /metrics HTTP/1.1\r\nno colon\r\n\r\n",
            b"GET /\xff\x00 HTTP/1.1\r\n\r\n",
        ];
        for bytes in garbage {
            let answer = ask(addr, bytes);
            assert!(answer.starts_with("HTTP/1.1 400 "), "{bytes:?}: {answer}");
        }
        let line = "a: b\r\n";
        for head in [format!("a: {}", "x".repeat(HEAD_MAX)), line.repeat(HEADERS_MAX + 1)] {
            let answer = ask(addr, format!("GET /metrics HTTP/1.1\r\n{head}").as_bytes());
            assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
        }
        assert!(get(addr).ends_with("# EOF\n"));
    });
}

#[test]
fn a_head_in_pieces() {
    with_server(LONG, "# EOF\n", |addr| {
        let mut stream = connect(addr);
        for byte in b"GET /metrics HTTP/1.1\r\n\r\n" {
            stream.write_all(&[*byte]).unwrap();
            std::thread::sleep(Duration::from_millis(1));
        }
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        assert!(text.ends_with("# EOF\n"), "{text}");
    });
}

#[test]
fn slow_clients_keep_nobody_waiting() {
    let body = "x".repeat(16 << 20);
    with_server(LONG, &body, |addr| {
        let silent: Vec<TcpStream> = (0..CLIENTS_MAX / 2).map(|_| connect(addr)).collect();
        let deaf: Vec<TcpStream> = (0..CLIENTS_MAX / 2)
            .map(|_| {
                let mut stream = connect(addr);
                stream.write_all(b"GET /metrics HTTP/1.1\r\n\r\n").unwrap();
                stream
            })
            .collect();
        assert!(get(addr).ends_with(&body));
        // There was room for all but one: the first has had to go.
        assert_eq!((&silent[0]).read(&mut [0]).unwrap(), 0);
        drop((silent, deaf));
        assert!(get(addr).ends_with(&body));
    });
}

#[test]
fn nobody_stays_for_ever() {
    with_server(Duration::from_millis(300), "# EOF\n", |addr| {
        let mut silent = connect(addr);
        assert_eq!(silent.read(&mut [0]).unwrap(), 0);
        let mut chatting = connect(addr);
        let sent = (0..200).take_while(|_| {
            std::thread::sleep(Duration::from_millis(100));
            chatting.write_all(b"G").is_ok()
        });
        assert!(sent.count() < 200);
    });
}

#[test]
fn addresses_that_cannot_be_had() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap();
    let error = bind(addr).unwrap_err();
    let cure = "end the program that uses it, or give another port";
    assert_eq!(error.to_string(), format!("--listen {addr}: Address already in use: {cure}"));
    assert_eq!(Exit::of(&error), Exit::System);
    // From the block for documentation: nobody has it.
    let error = bind("192.0.2.1:9857".parse().unwrap()).unwrap_err().to_string();
    let expected = "--listen 192.0.2.1:9857: Cannot assign requested address: give an \
                        address of this machine";
    assert_eq!(error, expected);
}
