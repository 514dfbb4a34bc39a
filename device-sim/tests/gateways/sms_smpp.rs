//! Text messages by SMPP.

use device_sim::fault::Fault;
use device_sim::gateway::{Alphabet, Delivery, MessageStatus};

use crate::client::gateways;
use crate::smpp_client::{
    BIND_RECEIVER, BIND_TRANSCEIVER, BIND_TRANSMITTER, Client, DELIVER_SM, ENQUIRE_LINK,
    GENERIC_NACK, Receipt, SUBMIT_SM, Submit, UNBIND, Unit, bind,
};

const TO: &str = "+32470123456";

#[tokio::test]
async fn binding() {
    let (gateways, _) = gateways(|_| {}).await;
    let smpp = gateways.sms().smpp();
    let (id, password) = (smpp.system_id(), smpp.password());
    let mut client = Client::connect(smpp.addr()).await;
    let good = bind(id, password);
    for (command, body, status) in [
        // Bind first.
        (SUBMIT_SM, Submit::default().body(), 0x04),
        (ENQUIRE_LINK, Vec::new(), 0x04),
        (UNBIND, Vec::new(), 0x04),
        (BIND_TRANSCEIVER, bind("someone", password), 0x0F),
        (BIND_TRANSCEIVER, bind("sixteen-characte", password), 0x0F),
        (BIND_TRANSCEIVER, bind(id, "wrong"), 0x0E),
        (BIND_TRANSCEIVER, bind(id, ""), 0x0E),
        (BIND_TRANSCEIVER, bind(id, "ninechars"), 0x0E),
        (BIND_TRANSCEIVER, good[..good.len() - 3].to_vec(), 0x02),
        (BIND_TRANSCEIVER, [&good[..], b"x"].concat(), 0x02),
        (BIND_TRANSCEIVER, b"unterminated".to_vec(), 0x02),
        (BIND_TRANSCEIVER, good.clone(), 0),
        (BIND_TRANSCEIVER, good.clone(), 0x05),
        (BIND_TRANSMITTER, good.clone(), 0x05),
        (ENQUIRE_LINK, Vec::new(), 0),
        (UNBIND, Vec::new(), 0),
    ] {
        let answer = client.call(command, &body).await;
        assert_eq!(answer.status, status, "{command:#x} {body:?}");
        if answer.status != 0 {
            assert!(answer.body.is_empty(), "a refusal has no body");
        } else if command == BIND_TRANSCEIVER {
            // system_id, then sc_interface_version 3.4.
            assert_eq!(answer.body, b"device-sim\0\x02\x10\x00\x01\x34");
        }
    }
    assert_eq!(client.next().await, None, "unbound: closed");
    let mut sessions = Vec::new();
    for _ in 0..16 {
        sessions.push(Client::bound(smpp, BIND_RECEIVER).await);
    }
    let mut client = Client::connect(smpp.addr()).await;
    let answer = client.call(BIND_RECEIVER, &good).await;
    assert_eq!(answer.status, 0x0D, "too many sessions");
}

#[tokio::test]
async fn what_is_no_pdu() {
    let (gateways, _) = gateways(|_| {}).await;
    let smpp = gateways.sms().smpp();
    let mut client = Client::bound(smpp, BIND_TRANSCEIVER).await;
    let sequence = client.send(0x0103, b"data_sm is not spoken here").await;
    let nack = |status, sequence| Unit {
        command: GENERIC_NACK,
        status,
        sequence,
        body: Vec::new(),
    };
    assert_eq!(client.next().await, Some(nack(0x03, sequence)));
    // An answer to nothing.
    client.write(0x8000_0004, 0, 99, b"").await;
    assert_eq!(client.call(ENQUIRE_LINK, &[]).await.status, 0);
    for length in [15_u32, 1 << 30] {
        let mut client = Client::bound(smpp, BIND_TRANSCEIVER).await;
        let mut header = Vec::new();
        for word in [length, SUBMIT_SM, 0, 7] {
            header.extend(word.to_be_bytes());
        }
        tokio::io::AsyncWriteExt::write_all(&mut client.tcp, &header)
            .await
            .unwrap();
        assert_eq!(client.next().await, Some(nack(0x02, 7)));
        assert_eq!(client.next().await, None);
    }
}

#[tokio::test]
async fn refusals() {
    let (gateways, _) = gateways(|_| {}).await;
    let smpp = gateways.sms().smpp();
    let mut client = Client::bound(smpp, BIND_TRANSCEIVER).await;
    let good = Submit::default;
    let source = |source| Submit { source, ..good() };
    let destination = |destination| Submit {
        destination,
        ..good()
    };
    let message = |data_coding, message: Vec<u8>| Submit {
        data_coding,
        message,
        ..good()
    };
    let validity = |text: &str| Submit {
        validity: text.to_owned(),
        ..good()
    };
    let parameters = |parameters: &[(u16, &[u8])]| Submit {
        parameters: parameters
            .iter()
            .map(|(tag, value)| (*tag, value.to_vec()))
            .collect(),
        ..good()
    };
    let udh = |message: &[u8]| Submit {
        esm_class: 0x40,
        message: message.to_vec(),
        ..good()
    };
    for (submit, status, why) in [
        (
            Submit {
                service_type: "toolong",
                ..good()
            },
            0x15,
            "service type",
        ),
        (source((7, 0, "Countersign")), 0x48, "source ton"),
        (source((5, 2, "Countersign")), 0x49, "source npi"),
        (source((5, 0, "Countersigner")), 0x0A, "over 11 characters"),
        (source((1, 1, "+32470123456")), 0x0A, "plus sign"),
        (source((0, 0, "Countersign")), 0x0A, "letters without ton 5"),
        (destination((7, 1, "32470123456")), 0x50, "destination ton"),
        (destination((1, 2, "32470123456")), 0x51, "destination npi"),
        (destination((2, 1, "0470123456")), 0x0B, "national"),
        (destination((1, 1, "+32470123456")), 0x0B, "plus sign"),
        (destination((1, 1, "0470123456")), 0x0B, "leading zero"),
        (destination((1, 1, "")), 0x0B, "no number"),
        (destination((1, 1, "3247012345678901")), 0x0B, "16 digits"),
        (destination((1, 1, "15005550001")), 0x0B, "no such number"),
        (destination((1, 1, "15005550002")), 0x45, "no route"),
        (
            Submit {
                esm_class: 0x04,
                ..good()
            },
            0x43,
            "a receipt",
        ),
        (
            Submit {
                esm_class: 0x08,
                ..good()
            },
            0x43,
            "an acknowledgement",
        ),
        (
            Submit {
                priority: 4,
                ..good()
            },
            0x06,
            "priority",
        ),
        (
            Submit {
                schedule: "tomorrow".into(),
                ..good()
            },
            0x61,
            "schedule",
        ),
        (validity("270115080000000"), 0x62, "15 characters"),
        (validity("270115080000000Z"), 0x62, "no sign"),
        (validity("271315080000000+"), 0x62, "month 13"),
        (validity("270115080000049+"), 0x62, "49 quarters"),
        (validity("270115080000000+"), 0x62, "now: past"),
        (validity("270115100000004+00"), 0x62, "too long"),
        (
            Submit {
                registered: 3,
                ..good()
            },
            0x07,
            "registered_delivery",
        ),
        (
            Submit {
                replace: 2,
                ..good()
            },
            0x54,
            "replace_if_present",
        ),
        (
            Submit {
                default_message: 1,
                ..good()
            },
            0x63,
            "default message",
        ),
        (message(4, b"x".to_vec()), 0x45, "binary"),
        (message(0, vec![b'a'; 161]), 0x01, "161 septets"),
        (message(8, vec![0; 142]), 0x01, "71 code units"),
        (message(8, vec![0; 3]), 0x01, "half a code unit"),
        (message(0, vec![b'a'; 255]), 0x01, "over 254 octets"),
        (parameters(&[(0x0424, b"too")]), 0x01, "message twice"),
        (parameters(&[(0x020C, &[1])]), 0xC2, "one octet of two"),
        (parameters(&[(0x020C, &[0, 1])]), 0xC4, "a part of what?"),
        (
            parameters(&[(0x020C, &[0, 1]), (0x020E, &[2]), (0x020F, &[3])]),
            0xC4,
            "part 3 of 2",
        ),
        (
            udh(&[9, 0, 3, 1, 2, 1, b'x']),
            0x43,
            "header longer than the data",
        ),
        (
            udh(&[5, 0, 9, 1, 2, 1, b'x']),
            0x43,
            "element longer than the header",
        ),
        (
            udh(&[&[5, 0, 3, 1, 2, 1][..], &[b'x'; 154]].concat()),
            0x01,
            "154 septets in a part",
        ),
    ] {
        let answer = client.call(SUBMIT_SM, &submit.body()).await;
        assert_eq!(answer.status, status, "{why}");
        assert!(answer.body.is_empty(), "a refusal has no body");
    }
    let whole = good().body();
    let cut = client.call(SUBMIT_SM, &whole[..whole.len() - 1]).await;
    assert_eq!(cut.status, 0x01, "sm_length beyond the end");
    let loose = client
        .call(SUBMIT_SM, &[&whole[..], &[4, 36, 0]].concat())
        .await;
    assert_eq!(loose.status, 0xC0, "half a parameter");
    assert!(gateways.sms().inbox().messages().is_empty());

    for fine in [
        validity("270115100000004+"),
        validity("270115080001000+"),
        validity("000000000100000R"),
        source((1, 1, "32470000000")),
        source((0, 0, "")),
        destination((0, 0, "+32470123456")),
        message(0, vec![b'a'; 160]),
        message(8, vec![0x20; 140]),
        parameters(&[(0x1400, b"a vendor's own")]),
    ] {
        assert_eq!(client.call(SUBMIT_SM, &fine.body()).await.status, 0);
        let receipt = client.next().await.unwrap();
        assert_eq!(receipt.command, DELIVER_SM);
    }
    let mut receiver = Client::bound(smpp, BIND_RECEIVER).await;
    let answer = receiver.call(SUBMIT_SM, &good().body()).await;
    assert_eq!(answer.status, 0x04, "a receiver submits nothing");
}

#[tokio::test]
async fn texts_as_the_phone_shows_them() {
    let (gateways, _) = gateways(|_| {}).await;
    let mut client = Client::bound(gateways.sms().smpp(), BIND_TRANSMITTER).await;
    let inbox = gateways.sms().inbox();
    let ucs2 = |text: &str| -> Vec<u8> { text.encode_utf16().flat_map(u16::to_be_bytes).collect() };
    // "€é{\nÅ@" in the default alphabet.
    let gsm = vec![0x1B, 0x65, 0x05, 0x1B, 0x28, 0x0A, 0x0E, 0x00];
    for (data_coding, message, text, alphabet, units) in [
        (0, gsm, "€é{\nÅ@", Alphabet::Gsm7, 8),
        (8, ucs2("ê 😀"), "ê 😀", Alphabet::Ucs2, 4),
        (8, ucs2("plain"), "plain", Alphabet::Ucs2, 5),
        // UTF-8 sent as if it were the default alphabet: what a phone makes of it.
        (0, "é".as_bytes().to_vec(), "C)", Alphabet::Gsm7, 2),
    ] {
        let after = inbox.last_seq();
        let submit = Submit {
            data_coding,
            message,
            ..Submit::default()
        };
        assert_eq!(client.call(SUBMIT_SM, &submit.body()).await.status, 0);
        let shown = inbox.wait_for(TO, |one| one.seq > after).await;
        assert_eq!(shown.text, text);
        assert_eq!((shown.alphabet, shown.units), (alphabet, units));
        assert_eq!((shown.segments, shown.from.as_str()), (1, "Countersign"));
    }
}

#[tokio::test]
async fn long_messages() {
    let (gateways, _) = gateways(|_| {}).await;
    let mut client = Client::bound(gateways.sms().smpp(), BIND_TRANSMITTER).await;
    let inbox = gateways.sms().inbox();
    let part = |number: u8, text: &[u8]| Submit {
        esm_class: 0x40,
        message: [&[5, 0, 3, 77, 2, number], text].concat(),
        ..Submit::default()
    };
    // The last part first.
    for submit in [part(2, b"world"), part(1, b"hello ")] {
        assert!(inbox.messages().is_empty());
        assert_eq!(client.call(SUBMIT_SM, &submit.body()).await.status, 0);
    }
    let sar = |number: u8, text: &[u8]| Submit {
        message: text.to_vec(),
        parameters: vec![
            (0x020C, vec![0, 9]),
            (0x020E, vec![2]),
            (0x020F, vec![number]),
        ],
        ..Submit::default()
    };
    for submit in [sar(1, b"one "), sar(2, b"two")] {
        assert_eq!(client.call(SUBMIT_SM, &submit.body()).await.status, 0);
    }
    let payload = Submit {
        message: Vec::new(),
        parameters: vec![(0x0424, vec![b'a'; 161])],
        ..Submit::default()
    };
    assert_eq!(client.call(SUBMIT_SM, &payload.body()).await.status, 0);
    let shown = inbox.shown(TO);
    let texts: Vec<_> = shown
        .iter()
        .map(|one| (one.text.as_str(), one.segments))
        .collect();
    let long = "a".repeat(161);
    assert_eq!(
        texts,
        [("hello world", 2), ("one two", 2), (long.as_str(), 2)]
    );
}

#[tokio::test]
async fn receipts() {
    let (gateways, hand) = gateways(|_| {}).await;
    let smpp = gateways.sms().smpp();
    let inbox = gateways.sms().inbox();
    let mut client = Client::bound(smpp, BIND_TRANSCEIVER).await;
    assert_eq!(hand.now_s(), 1_800_000_000, "2027-01-15T08:00:00Z");
    let undelivered = Delivery::Undelivered { error_code: 30003 };
    let failed = Delivery::Failed { error_code: 30007 };
    for (delivery, registered, state) in [
        (None, 1, Some((2, "DELIVRD", "001", "000"))),
        (Some(undelivered), 1, Some((5, "UNDELIV", "000", "003"))),
        (Some(failed), 1, Some((8, "REJECTD", "000", "007"))),
        (Some(failed), 2, Some((8, "REJECTD", "000", "007"))),
        (None, 2, None),
        (None, 0, None),
        (Some(failed), 0, None),
        (Some(Delivery::Never), 1, None),
        (Some(Delivery::Unconfirmed), 1, None),
    ] {
        inbox.set_delivery(TO, delivery);
        let submit = Submit {
            registered,
            message: b"123456 is your code for Webmail".to_vec(),
            ..Submit::default()
        };
        let answer = client.call(SUBMIT_SM, &submit.body()).await;
        let id = String::from_utf8(answer.body).unwrap();
        let id = id.trim_end_matches('\0');
        let Some((state, word, delivered, error)) = state else {
            // Nothing else is under way: the next unit answers the next question.
            assert_eq!(client.call(ENQUIRE_LINK, &[]).await.status, 0);
            continue;
        };
        let unit = client.next().await.unwrap();
        let receipt = Receipt::of(&unit);
        assert_eq!(receipt.source, "32470123456");
        assert_eq!(receipt.destination, "Countersign");
        assert_eq!(receipt.esm_class, 0x04);
        assert_eq!(
            receipt.text,
            format!(
                "id:{id} sub:001 dlvrd:{delivered} submit date:2701150800 done date:2701150800 \
                 stat:{word} err:{error} text:123456 is your code "
            )
        );
        let receipted = format!("{id}\0").into_bytes();
        assert_eq!(receipt.parameter(0x001E), Some(receipted.as_slice()));
        assert_eq!(receipt.parameter(0x0427), Some([state].as_slice()));
        client.write(0x8000_0005, 0, unit.sequence, b"\0").await;
        let answers = inbox
            .wait_until(|all| {
                let message = all.iter().find(|one| one.id == id)?;
                (!message.receipts.is_empty()).then(|| message.receipts.clone())
            })
            .await;
        assert_eq!(answers.len(), 1);
        assert_eq!(answers[0].answer, "ESME_ROK");
    }
}

#[tokio::test]
async fn receipts_wait_for_a_receiver() {
    let (gateways, _) = gateways(|_| {}).await;
    let smpp = gateways.sms().smpp();
    let mut transmitter = Client::bound(smpp, BIND_TRANSMITTER).await;
    let submit = Submit::default().body();
    assert_eq!(transmitter.call(SUBMIT_SM, &submit).await.status, 0);
    let mut receiver = Client::bound(smpp, BIND_RECEIVER).await;
    let first = receiver.next().await.unwrap();
    // Cut off before the answer: it comes again to the next.
    drop(receiver);
    let mut receiver = Client::bound(smpp, BIND_RECEIVER).await;
    let again = receiver.next().await.unwrap();
    assert_eq!(Receipt::of(&again), Receipt::of(&first));
    // "Temporarily can't": again at the next bind.
    receiver.write(0x8000_0005, 0x64, again.sequence, b"").await;
    assert_eq!(receiver.call(UNBIND, &[]).await.status, 0);
    let mut receiver = Client::bound(smpp, BIND_RECEIVER).await;
    let again = receiver.next().await.unwrap();
    assert_eq!(Receipt::of(&again), Receipt::of(&first));
    receiver.write(0x8000_0005, 0, again.sequence, b"\0").await;
    assert_eq!(receiver.call(UNBIND, &[]).await.status, 0);
    let mut receiver = Client::bound(smpp, BIND_RECEIVER).await;
    assert_eq!(receiver.call(ENQUIRE_LINK, &[]).await.status, 0);
}

#[tokio::test]
async fn the_centre_asks_too() {
    let (gateways, _) = gateways(|_| {}).await;
    let smpp = gateways.sms().smpp();
    let mut client = Client::bound(smpp, BIND_TRANSCEIVER).await;
    assert_eq!(smpp.enquire(), 1);
    let question = client.next().await.unwrap();
    assert_eq!((question.command, question.status), (ENQUIRE_LINK, 0));
    client.write(0x8000_0015, 0, question.sequence, b"").await;
    // The answer to this comes after that one was read.
    assert_eq!(client.call(ENQUIRE_LINK, &[]).await.status, 0);
    assert_eq!((smpp.enquiries_answered(), smpp.sessions()), (1, 1));
}

#[tokio::test]
async fn faults() {
    let (gateways, _) = gateways(|_| {}).await;
    let smpp = gateways.sms().smpp();
    let inbox = gateways.sms().inbox();
    let submit = Submit {
        registered: 0,
        ..Submit::default()
    }
    .body();
    smpp.faults().schedule([
        Fault::TooManyRequests { retry_after: None },
        Fault::InternalError,
        Fault::Unavailable { retry_after: None },
        Fault::Unregistered,
        Fault::Reply {
            status: 500,
            reason: "0x00000400".to_owned(),
            retry_after: None,
        },
        Fault::Drop,
    ]);
    let mut client = Client::bound(smpp, BIND_TRANSCEIVER).await;
    for status in [0x58, 0x08, 0x14, 0x0B, 0x400, 0] {
        assert_eq!(client.call(SUBMIT_SM, &submit).await.status, status);
    }
    assert!(inbox.messages().is_empty());

    smpp.faults().schedule([Fault::Duplicate, Fault::Stall]);
    assert_eq!(client.call(SUBMIT_SM, &submit).await.status, 0);
    assert_eq!(inbox.shown(TO).len(), 2);
    client.send(SUBMIT_SM, &submit).await;
    // Processed and not answered: the next unit answers the next question.
    assert_eq!(client.call(ENQUIRE_LINK, &[]).await.status, 0);
    assert_eq!(inbox.shown(TO).len(), 3);

    // Late: the answer to what was asked after it comes first.
    smpp.faults().schedule([Fault::Latency { millis: 1 }]);
    client.send(SUBMIT_SM, &submit).await;
    let answer = client.next().await.unwrap();
    assert_eq!((answer.command, answer.status), (0x8000_0004, 0));

    for (fault, arrived) in [
        (Fault::Reset { processed: false }, 0),
        (Fault::Disconnect, 0),
        (Fault::RefuseStream, 0),
        (Fault::Reset { processed: true }, 1),
    ] {
        let mut client = Client::bound(smpp, BIND_TRANSCEIVER).await;
        let before = inbox.messages().len();
        smpp.faults().schedule([fault.clone()]);
        client.send(SUBMIT_SM, &submit).await;
        assert_eq!(client.next().await, None, "{fault:?}");
        assert_eq!(inbox.messages().len() - before, arrived, "{fault:?}");
    }

    smpp.faults().schedule([Fault::Goaway { code: 0 }]);
    assert_eq!(client.call(SUBMIT_SM, &submit).await.status, 0x08);
    let goodbye = client.next().await.unwrap();
    assert_eq!(goodbye.command, UNBIND);
    client.write(0x8000_0006, 0, goodbye.sequence, b"").await;
    assert_eq!(client.next().await, None);

    let mut client = Client::bound(smpp, BIND_TRANSCEIVER).await;
    smpp.faults().set_down(true);
    assert_eq!(client.next().await, None);
    let statuses: Vec<_> = inbox.messages().iter().map(|one| one.status).collect();
    assert!(statuses.iter().all(|one| *one == MessageStatus::Delivered));
    let throttled = &smpp.counters().outcomes["400 ESME_RTHROTTLED"];
    assert_eq!(*throttled, 1);
}
