//! A client for tests of who answers in HTTP/2: the crate's own.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::runtime::Builder;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

/// Longer than any answer takes, on the slowest machine.
const WAIT: Duration = Duration::from_secs(60);

/// Status, header fields and body of an answer.
pub(crate) type Answer = (u16, http::HeaderMap, String);

/// The answers to requests, as method and path, that are sent at once on one connection, which the
/// other side then ends well.
pub(crate) fn asked(
    address: SocketAddr,
    tls: Option<TlsConnector>,
    requests: &[(&str, &str)],
) -> Vec<Answer> {
    let asked = async {
        let socket = TcpStream::connect(address).await.unwrap();
        let Some(tls) = tls else { return asked_on(socket, requests).await };
        let stream = tls.connect("localhost".try_into().unwrap(), socket).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        asked_on(stream, requests).await
    };
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { timeout(WAIT, asked).await.expect("in time") })
}

async fn asked_on(
    socket: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    requests: &[(&str, &str)],
) -> Vec<Answer> {
    let (mut client, connection) = h2::client::handshake(socket).await.unwrap();
    let driven = tokio::spawn(connection);
    let mut answers = Vec::new();
    for (method, path) in requests {
        let uri = format!("http://localhost{path}");
        let request = http::Request::builder().method(*method).uri(uri).body(()).unwrap();
        client = client.ready().await.unwrap();
        let (response, mut body) = client.send_request(request, false).unwrap();
        body.send_data(Bytes::from_static(b"a body that nobody reads"), true).unwrap();
        answers.push(response);
    }
    let mut told = Vec::new();
    for answer in answers {
        let (head, mut body) = answer.await.unwrap().into_parts();
        let mut text = Vec::new();
        while let Some(piece) = body.data().await {
            text.extend_from_slice(&piece.unwrap());
        }
        told.push((head.status.as_u16(), head.headers, String::from_utf8(text).unwrap()));
    }
    drop(client);
    driven.await.unwrap().expect("the connection ended well");
    told
}
