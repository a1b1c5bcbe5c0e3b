//! What endpoints of HTTP/1.1 may say.

use std::time::Duration;

use tokio::io::AsyncWriteExt;

use super::proxy_common::{Backend, ok, read_head};

/// What an endpoint says to a request for this path, piece by piece, and whether it closes then.
pub fn script(path: &str) -> (Vec<String>, bool) {
    let say = |pieces: &[&str]| pieces.iter().map(|piece| (*piece).to_owned()).collect::<Vec<_>>();
    let (pieces, closes) = match path {
        "/plain" => (vec![ok("plain")], false),
        "/empty" => (vec![ok("")], false),
        "/long" => (vec![ok(&"x".repeat(300_000))], false),
        "/head-in-pieces" => (say(&["HTTP/1.1 20", "0 OK\r\nContent-Le", "ngth: 2\r\n\r\n", "o", "k"]), false),
        "/chunked" => {
            (say(&["HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n", "1\r\n!\r\n0\r\n\r\n"]), false)
        }
        "/until-closed" => (say(&["HTTP/1.1 200 OK\r\n\r\no", "k"]), true),
        "/closes" => (say(&["HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok"]), true),
        "/hints" => (say(&["HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", &ok("hinted")]), false),
        "/hints-at-once" => (vec![format!("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n{}", ok("hinted"))], false),
        "/no-content" => (say(&["HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n"]), false),
        "/not-modified" => (say(&["HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\nETag: \"x\"\r\n\r\n"]), false),
        "/missing" => {
            (say(&["HTTP/1.1 404 Nobody Here\r\nContent-Length: 1\r\nSet-Cookie: a\r\nset-cookie: b\r\n\r\nx"]), false)
        }
        "/fails" => (say(&["HTTP/1.1 500 No\r\nContent-Length: 1\r\n\r\nx"]), false),
        "/busy" => (say(&["HTTP/1.1 503 Busy\r\nRetry-After: 1\r\nContent-Length: 1\r\n\r\nx"]), false),
        "/too-many" => (say(&["HTTP/1.1 429 Slowly\r\nContent-Length: 1\r\n\r\nx"]), false),
        "/old" => (say(&["HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok"]), true),
        "/lengths" => (say(&["HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok"]), false),
        "/two-lengths" => (say(&["HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok"]), true),
        "/both" => {
            (say(&["HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"]), true)
        }
        "/switches" => (say(&["HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"]), true),
        "/nonsense" => (say(&["what?\r\n\r\n"]), true),
        "/hop-by-hop" => (
            say(&[
                "HTTP/1.1 200 OK\r\nConnection: x-of-this-hop\r\nX-Of-This-Hop: 1\r\nKeep-Alive: timeout=5\r\nContent-Length: 2\r\n\r\nok",
            ]),
            false,
        ),
        "/too-much" => (say(&["HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\n"]), false),
        "/cut" => (say(&["HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok"]), true),
        path => panic!("no script for {path}"),
    };
    (pieces, closes)
}

/// All of them.
pub const PATHS: [&str; 24] = [
    "/plain",
    "/empty",
    "/long",
    "/head-in-pieces",
    "/chunked",
    "/until-closed",
    "/closes",
    "/hints",
    "/hints-at-once",
    "/no-content",
    "/not-modified",
    "/missing",
    "/fails",
    "/busy",
    "/too-many",
    "/old",
    "/lengths",
    "/two-lengths",
    "/both",
    "/switches",
    "/nonsense",
    "/hop-by-hop",
    "/too-much",
    "/cut",
];

/// An endpoint of HTTP/1.1 that does what the path of a request says.
pub async fn acting() -> Backend {
    Backend::start(|mut stream, _| async move {
        while let Some(head) = read_head(&mut stream).await {
            let (pieces, closes) = script(head.split(' ').nth(1).unwrap());
            for (count, piece) in pieces.iter().enumerate() {
                if count > 0 {
                    // So that each is read by itself.
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                stream.write_all(piece.as_bytes()).await.unwrap();
            }
            if closes {
                return;
            }
        }
    })
    .await
}
