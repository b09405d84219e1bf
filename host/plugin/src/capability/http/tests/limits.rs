//! Answers that are too large, too slow, or never end; requests that are too large; too many at once.

use http_body_util::StreamBody;
use hyper::body::Frame;

use super::*;

/// Between two writes: time that stands still would let no deadline come.
const TICK: Duration = Duration::from_millis(1);

fn plain() -> Request<WasiBody> {
    get("http://api.example.org/")
}

/// Answers with `first`, then with `again` over and over, `pause` between, until nobody listens.
fn endless(first: &'static [u8], again: &'static [u8], pause: Duration) -> Serve {
    Arc::new(move |mut stream| {
        async move {
            head(&mut stream).await;
            if stream.write_all(first).await.is_err() {
                return;
            }
            loop {
                tokio::time::sleep(pause).await;
                if stream.write_all(again).await.is_err() {
                    return;
                }
            }
        }
        .boxed()
    })
}

async fn served(serve: Serve) -> Result<Answer, Error> {
    fetch(&client(&Recorder::new(serve), HttpPolicy::default()), limits(), plain()).await
}

#[tokio::test(start_paused = true)]
async fn an_answer_ends_at_its_cap_however_it_is_sent() {
    let announced = replying(b"HTTP/1.1 200 OK\r\ncontent-length: 1001\r\n\r\n").0;
    assert!(matches!(served(announced).await, Err(Error::HttpResponseBodySize(Some(1001)))));
    let head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    let chunks = endless(head, b"10\r\n0123456789abcdef\r\n", TICK);
    assert!(matches!(served(chunks).await, Err(Error::HttpResponseBodySize(_))));
    let until_closed = endless(b"HTTP/1.1 200 OK\r\n\r\n", b"0123456789abcdef", TICK);
    assert!(matches!(served(until_closed).await, Err(Error::HttpResponseBodySize(_))));
    // Exactly the cap.
    let whole: Serve = Arc::new(|mut stream| {
        async move {
            head_and_reply(&mut stream).await;
        }
        .boxed()
    });
    assert_eq!(served(whole).await.unwrap().2.len(), 1000);
}

async fn head_and_reply(stream: &mut DuplexStream) {
    head(stream).await;
    let reply = [&b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n"[..], &[b'x'; 1000]].concat();
    stream.write_all(&reply).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_head_that_never_ends_is_cut_off_before_its_time() {
    for (first, again) in [
        (&b"HTTP/1.1 200 OK\r\nx: "[..], &b"yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy"[..]),
        (b"HTTP/1.1 200 OK\r\n", b"x: y\r\n"),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        (b"", b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n"),
        // Next to nothing of a body in much of a stream.
        (
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
            b"1;xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\r\ny\r\n",
        ),
    ] {
        let again: &'static [u8] = Box::leak(again.repeat(30).into_boxed_slice());
        let error = served(endless(first, again, TICK)).await.unwrap_err();
        assert!(!matches!(error, Error::HttpResponseTimeout), "{first:?} {error:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_deadline_covers_everything_to_the_last_byte() {
    let start = tokio::time::Instant::now();
    // Nothing at all; a head, and nothing; a body byte by byte.
    let silent: Serve = Arc::new(|stream| {
        async move {
            tokio::time::sleep(Duration::from_secs(3600)).await;
            drop(stream);
        }
        .boxed()
    });
    let second = Duration::from_secs(1);
    let drip = endless(b"HTTP/1.1 200 OK\r\ncontent-length: 900\r\n\r\n", b"x", second);
    let head = endless(b"HTTP/1.1 200 OK\r\ncontent-length: 900\r\n\r\n", b"", Duration::from_secs(3600));
    let slow_head = endless(b"HTTP/1.1 200 OK\r\n", b"x: y\r\n", second);
    for serve in [silent, drip, head, slow_head] {
        let before = tokio::time::Instant::now();
        let error = served(serve).await;
        assert!(matches!(error, Err(Error::HttpResponseTimeout)), "{error:?}");
        assert!(before.elapsed() < Duration::from_secs(7), "{:?}", before.elapsed());
    }
    assert!(start.elapsed() < Duration::from_secs(30));
}

#[tokio::test(start_paused = true)]
async fn look_ups_that_hang_are_few_however_many_requests_gave_up_on_them() {
    let net = Recorder { thinks: Duration::from_secs(3600), ..Recorder::new(replying(HELLO).0) };
    let client = client(&net, HttpPolicy::default());
    for _ in 0..20 {
        let error = fetch(&client, limits(), plain()).await;
        assert!(matches!(error, Err(Error::HttpResponseTimeout)), "{error:?}");
    }
    assert_eq!(net.looked_up.lock().len(), 4);
    tokio::time::sleep(Duration::from_secs(7200)).await;
    let quick = Recorder { thinks: Duration::ZERO, ..net };
    assert!(fetch(&super::client(&quick, HttpPolicy::default()), limits(), plain()).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_server_that_hangs_up_is_no_answer_and_no_hang() {
    for reply in [&b""[..], b"HTTP/1.1 200", b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf", b"\x16\x03\x01junk"]
    {
        let error = served(replying(reply).0).await;
        assert!(matches!(error, Err(Error::HttpProtocolError | Error::HttpResponseIncomplete)), "{reply:?}: {error:?}");
    }
    let upgrade = replying(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n").0;
    assert!(served(upgrade).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn nothing_is_decompressed_and_trailers_stay_behind() {
    let bomb = b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 4\r\n\r\n\x1f\x8b\x08\x00";
    let (_, headers, body) = served(replying(bomb).0).await.unwrap();
    assert_eq!((&headers["content-encoding"], body.as_slice()), (&"gzip".parse().unwrap(), &b"\x1f\x8b\x08\x00"[..]));
    let trailers = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nx-secret: y\r\n\r\n";
    assert_eq!(served(replying(trailers).0).await.unwrap().2, b"ok");
}

#[tokio::test(start_paused = true)]
async fn a_request_ends_at_its_cap_announced_or_not() {
    let taken = Arc::new(Mutex::new(0));
    let counted = Arc::clone(&taken);
    let serve: Serve = Arc::new(move |mut stream| {
        let taken = Arc::clone(&counted);
        async move {
            let mut buffer = [0; 1024];
            while let Ok(read @ 1..) = stream.read(&mut buffer).await {
                *taken.lock() += read;
            }
        }
        .boxed()
    });
    let client = client(&Recorder::new(serve), HttpPolicy::default());
    let mut request = plain();
    request.headers_mut().insert("content-length", "1001".parse().unwrap());
    assert!(matches!(fetch(&client, limits(), request).await, Err(Error::HttpRequestBodySize(Some(1001)))));
    let chunk = || Ok::<_, Error>(Frame::data(Bytes::from_static(&[b'x'; 100])));
    let body = StreamBody::new(futures::stream::iter((0..1000).map(move |_| chunk()))).boxed_unsync();
    let request = Request::post("http://api.example.org/").body(body).unwrap();
    let error = fetch(&client, limits(), request).await;
    assert!(matches!(error, Err(Error::HttpRequestBodySize(_))), "{error:?}");
    assert!(*taken.lock() < 2000, "{}", taken.lock());
}

#[tokio::test(start_paused = true)]
async fn a_tenants_requests_wait_for_each_other_and_not_beyond_their_time() {
    let slow = endless(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n", b"x", Duration::from_secs(1));
    let net = Recorder::new(slow);
    let one = client(&net, HttpPolicy { concurrency: 1, ..HttpPolicy::default() });
    let (first, second) = tokio::join!(fetch(&one, limits(), plain()), fetch(&one, limits(), plain()));
    // Three seconds each of five: the second gets its place, but not its answer in time.
    assert_eq!(first.unwrap().2, b"xxx");
    assert!(matches!(second, Err(Error::HttpResponseTimeout)), "{second:?}");
    assert_eq!(fetch(&one, limits(), plain()).await.unwrap().2, b"xxx", "places come back");
}

#[test]
fn of_the_manifests_bounds_and_the_operators_the_tighter_ones_hold() {
    let text = "name = \"x\"\nversion = \"1\"\nworld = \"0.1\"\nimports = [\"http\"]\n[http]\nallow = [\"https://api.example.org\"]\nrequest-bytes = 100\nresponse-bytes = 100\ntimeout = \"2s\"\nconcurrency = 4\n";
    let manifest = crate::manifest::Manifest::parse(text).unwrap();
    let net = Recorder::new(replying(HELLO).0);
    let of = |policy: HttpPolicy| {
        let limits = client(&net, policy).limits(&manifest);
        (limits.concurrency, limits.timeout, limits.request_bytes, limits.response_bytes)
    };
    let own = (4, Duration::from_secs(2), 100, 100);
    assert_eq!(of(HttpPolicy::default()), own, "the defaults narrow nothing");
    let timeout = Duration::from_millis(100);
    let tight = HttpPolicy { concurrency: 1, timeout, request_bytes: 7, response_bytes: 8, ..HttpPolicy::default() };
    assert_eq!(of(tight), (1, timeout, 7, 8));
}
