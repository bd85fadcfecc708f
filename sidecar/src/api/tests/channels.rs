//! `/channels` and below.

use framebuffer::{Descriptor, Element, Frame};

use super::*;

#[tokio::test]
async fn channels_are_listed_with_their_figures_and_whoever_holds_publishers_up() {
    let api = Api::new();
    assert_eq!(api.request("GET", "/channels").await.json(), json!({ "channels": [] }));
    let (writer, reader) = (api.client(), api.client());
    let _slow = reader.subscriber_options("camera").lossless().open().unwrap();
    let _idle = reader.subscriber("a.b").unwrap();
    let mut publisher = writer.publisher_options("camera").keep(3).content_type("video/x-raw").open().unwrap();
    for _ in 0..2 {
        publisher.send(&[7; 100]).unwrap();
    }
    let answer = api.request("GET", "/channels").await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let mut answer = answer.json();
    let [idle, camera] = &mut answer["channels"].as_array_mut().unwrap()[..] else { panic!("two") };
    assert_eq!((&idle["name"], &idle["frames_sent"], &idle["subscribers"]), (&json!("a.b"), &json!(0), &json!(1)));
    assert!(idle.get("last_frame_age_seconds").is_none(), "{idle}");
    let without_age = |channel: &mut Value| {
        let age = channel.as_object_mut().unwrap().remove("last_frame_age_seconds").unwrap();
        assert!((0.0..60.0).contains(&age.as_f64().unwrap()), "{age}");
    };
    without_age(camera);
    let mut expected = json!({
        "name": "camera", "frames_sent": 2, "sent_bytes": 200, "frames_lost": 0, "frames_skipped": 0,
        "publishers": 1, "subscribers": 1, "lossless_subscribers": 1, "unread_frames": 2,
    });
    assert_eq!(*camera, expected);

    let mut camera = api.request("GET", "/channels/camera").await.json();
    without_age(&mut camera);
    expected["content_type"] = json!("video/x-raw");
    let participant = camera["lossless"][0]["participant"].clone();
    assert!(participant.is_u64(), "{camera}");
    expected["lossless"] = json!([
        { "participant": participant, "process": std::process::id(), "next_number": 0, "unread_frames": 2 },
    ]);
    assert_eq!(camera, expected);
    let idle = api.request("GET", "/channels/a.b").await.json();
    assert_eq!((&idle["lossless"], idle.get("content_type")), (&json!([]), None));
}

#[tokio::test]
async fn the_last_frame_is_described_so_that_a_client_can_read_it() {
    let api = Api::new();
    let client = api.client();
    let mut publisher = client.publisher("robot/depth").unwrap();
    let image = Descriptor::new().element(Element::U16).shape(&[10, 5]).unwrap().stride(16).fourcc(*b"Z16 ");
    for number in 0..3_u64 {
        publisher.send_with(&[number as u8; 160], &image.time(number).user(number)).unwrap();
        let answer = api.request("GET", "/channels/robot%2Fdepth/latest").await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        let frame: Frame = serde_json::from_str(&answer.text).unwrap();
        assert_eq!(client.read_frame(&frame).unwrap(), [number as u8; 160]);
    }
    let mut found = api.request("GET", "/channels/robot%2Fdepth/latest").await.json();
    let found = found.as_object_mut().unwrap();
    for member in ["offset", "checksum", "ring", "committed_ns", "age_seconds"] {
        assert!(found.remove(member).is_some(), "{member}");
    }
    let expected = json!({
        "channel": "robot/depth", "number": 2, "size": 160, "hashed": true, "time_ns": 2,
        "element": { "name": "uint16", "code": 1, "bits": 16, "lanes": 1 }, "shape": [10, 5], "stride": 16,
        "fourcc": "Z16 ", "user": 2,
    });
    assert_eq!(json!(found), expected);
    // What is not said is missing.
    publisher.send(b"plain").unwrap();
    let found = api.request("GET", "/channels/robot%2Fdepth/latest").await.json();
    for member in ["time_ns", "element", "shape", "stride", "fourcc", "user"] {
        assert!(found.get(member).is_none(), "{found}");
    }
}

#[tokio::test]
async fn without_a_last_frame_the_problem_says_why() {
    let api = Api::new();
    let client = api.client();
    for path in ["/channels/camera", "/channels/camera/latest", "/channels/a%2Fb/latest"] {
        let answer = api.request("GET", path).await;
        assert_problem(&answer, 404, &[if path.contains("a%2F") { "`a/b`" } else { "`camera`" }]);
        assert_eq!(answer.json()["type"], "urn:framebuffer:problem:no-channel");
    }
    let mut publisher = client.publisher_options("camera").keep(0).open().unwrap();
    assert_eq!(api.request("GET", "/channels/camera").await.status, 200);
    let answer = api.request("GET", "/channels/camera/latest").await;
    assert_problem(&answer, 404, &["nothing was sent", "`camera`"]);
    assert_eq!(answer.json()["type"], "urn:framebuffer:problem:nothing-sent");

    publisher.send(b"a picture").unwrap();
    assert_eq!(api.request("GET", "/channels/camera/latest").await.status, 200);
    while api.head() < 3 * SIZE {
        client.publish(&vec![1; 100_000]).unwrap();
    }
    let answer = api.request("GET", "/channels/camera/latest").await;
    assert_problem(&answer, 410, &["frame 0", "`camera`", "overwritten"]);
    let kind = "urn:framebuffer:problem:overwritten";
    assert_eq!((&answer.json()["type"], &answer.json()["number"]), (&json!(kind), &json!(0)));
}

#[tokio::test]
async fn a_slash_in_a_name_is_written_percent_encoded_and_a_bare_one_is_told_so() {
    let api = Api::new();
    let client = api.client();
    client.publisher("a/b").unwrap().send(b"1").unwrap();
    // A channel of that name is another one than the last frame of `a`.
    client.publisher("a/latest").unwrap().send(b"22").unwrap();
    for (path, name) in [("/channels/a%2Fb", "a/b"), ("/channels/a%2flatest", "a/latest"), ("/channels/%61%2Fb", "a/b")]
    {
        assert_eq!(api.request("GET", path).await.json()["name"], name, "{path}");
    }
    assert_eq!(api.request("GET", "/channels/a%2Flatest/latest").await.json()["size"], 2);
    for path in ["/channels/a/b", "/channels/a/b/latest"] {
        assert_problem(&api.request("GET", path).await, 404, &[path, "`%2F`"]);
    }
    assert_problem(&api.request("GET", "/channels/a/latest").await, 404, &["no channel `a`"]);
}

#[tokio::test]
async fn what_can_be_no_name_is_refused_with_value_and_limit() {
    let api = Api::new();
    let longest = "x".repeat(63);
    assert_problem(&api.request("GET", &format!("/channels/{longest}/latest")).await, 404, &[&longest]);
    for suffix in ["", "/latest"] {
        for length in [0, 64, 5000] {
            let answer = api.request("GET", &format!("/channels/{}{suffix}", "x".repeat(length))).await;
            assert_problem(&answer, 400, &["1 to 63 bytes", &format!("not {length}")]);
            assert_eq!((&answer.json()["value"], &answer.json()["limit"]), (&json!(length), &json!(63)));
            assert!(answer.text.len() < 1000, "{}", answer.text);
        }
        for (name, word) in [("left%20camera", "' '"), ("a%00", "\\0"), ("%C3%BC", "\u{fc}"), ("%FF", "UTF-8")] {
            let answer = api.request("GET", &format!("/channels/{name}{suffix}")).await;
            assert_problem(&answer, 400, &[word]);
            assert_eq!(answer.json()["type"], "urn:framebuffer:problem:channel-name");
        }
    }
}
