//! A JSON-RPC endpoint that answers as a test says, over HTTP or HTTPS.

use std::net::SocketAddr;
use std::sync::Arc;

use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// What the endpoint does with a request.
pub enum Reply {
    /// A JSON-RPC result.
    Result(Value),
    /// A JSON-RPC error.
    Error(Value),
    /// An HTTP status and body.
    Status(u16, String),
    /// A body that never ends.
    Endless,
    /// Nothing, for ever.
    Silence,
}

type Script = dyn Fn(&str, &Value) -> Reply + Send + Sync;

/// Listens on a free loopback port until the runtime ends; gives the address.
pub async fn serve(
    tls: Option<TlsAcceptor>,
    script: impl Fn(&str, &Value) -> Reply + Send + Sync + 'static,
) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let script: Arc<Script> = Arc::new(script);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (script, tls) = (Arc::clone(&script), tls.clone());
            tokio::spawn(async move {
                match tls {
                    // A client that does not trust the certificate breaks off here.
                    Some(tls) => match tls.accept(stream).await {
                        Ok(stream) => answer(stream, &script).await,
                        Err(_) => None,
                    },
                    None => answer(stream, &script).await,
                }
            });
        }
    });
    address
}

/// One request, one answer, end of connection.
async fn answer(mut stream: impl AsyncRead + AsyncWrite + Unpin, script: &Arc<Script>) -> Option<()> {
    let request = read_request(&mut stream).await?;
    let (id, method) = (&request["id"], request["method"].as_str()?);
    let (status, body) = match script(method, &request["params"]) {
        Reply::Result(result) => (200, json!({"jsonrpc": "2.0", "id": id, "result": result}).to_string()),
        Reply::Error(error) => (200, json!({"jsonrpc": "2.0", "id": id, "error": error}).to_string()),
        Reply::Status(status, body) => (status, body),
        Reply::Silence => std::future::pending().await,
        Reply::Endless => {
            stream
                .write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{\"jsonrpc\":\"2.0\",\"id\":\"")
                .await
                .ok()?;
            loop {
                stream.write_all(&[b'x'; 4096]).await.ok()?;
            }
        }
    };
    let head = format!("HTTP/1.1 {status} Status\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
    stream.write_all(head.as_bytes()).await.ok()?;
    stream.write_all(body.as_bytes()).await.ok()?;
    stream.shutdown().await.ok()
}

async fn read_request(stream: &mut (impl AsyncRead + Unpin)) -> Option<Value> {
    let mut bytes = Vec::new();
    loop {
        let mut chunk = [0; 4096];
        let read = stream.read(&mut chunk).await.ok()?;
        if read == 0 {
            return None;
        }
        bytes.extend_from_slice(&chunk[..read]);
        let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
            continue;
        };
        let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
        let length =
            head.lines().find_map(|line| line.strip_prefix("content-length:"))?.trim().parse::<usize>().ok()?;
        if let Some(body) = bytes.get(end + 4..end + 4 + length) {
            return serde_json::from_slice(body).ok();
        }
    }
}
