//! What goes wrong between the command line and a broker.

use std::net::SocketAddr;

use tokio::net::TcpListener;

use super::{
    countersign, parts,
    played::{ADMIN_KEY, IDP_KEY, Played},
};

#[tokio::test]
async fn failures_are_one_sentence_and_an_exit_code() {
    let address = Played::default().serve().await;
    let unused: SocketAddr = {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap()
    };
    let unused = format!("http://{unused}");
    // Hangs up on whoever comes, as a TLS port does on a plain client.
    let rude = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let hangs_up = format!("http://{}", rude.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            drop(rude.accept().await);
        }
    });
    let create = &["tenant", "create", ""];
    type Case<'a> = (&'a [&'a str], &'a str, Option<&'a str>, i32, &'a str);
    let cases: &[Case<'_>] = &[
        (
            create,
            &address,
            Some(ADMIN_KEY),
            1,
            "countersign: the request is not valid; display_name: must be 1 to 128 bytes [FIELD_INVALID]\n",
        ),
        (
            create,
            &address,
            Some(IDP_KEY),
            77,
            "countersign: the api key is not valid [API_KEY_INVALID]\n",
        ),
        (
            create,
            &address,
            Some("wrong"),
            77,
            "countersign: COUNTERSIGN_ADMIN_KEY does not hold an API key (csk_<id>_<secret>)\n",
        ),
        (
            create,
            &address,
            None,
            77,
            "countersign: an API key is needed: set COUNTERSIGN_ADMIN_KEY or name a file by --admin-key-file\n",
        ),
        (
            create,
            "http://192.0.2.1:1",
            Some(ADMIN_KEY),
            2,
            "countersign: --address: must begin with https:// beyond loopback, unless --allow-plaintext-beyond-loopback is set\n",
        ),
        (
            &["tenant", "list", "--ca-file", "/dev/null"],
            &address,
            Some(ADMIN_KEY),
            2,
            "is plain, certificates need https://\n",
        ),
        (
            &["tenant", "list"],
            &unused,
            Some(ADMIN_KEY),
            69,
            "tcp connect error: Connection refused (os error 111)\n",
        ),
        (
            &["tenant", "list"],
            &hangs_up,
            Some(ADMIN_KEY),
            69,
            "; is it the gRPC port, and https:// if it speaks TLS?\n",
        ),
    ];
    for (arguments, address, key, expected, message) in cases {
        let mut command = countersign(arguments);
        command.env("COUNTERSIGN_ADDRESS", address);
        if let Some(key) = key {
            command.env("COUNTERSIGN_ADMIN_KEY", key);
        }
        let (code, stdout, stderr) = parts(command.output().await.unwrap());
        assert_eq!((code, stdout.as_str()), (*expected, ""), "{stderr}");
        assert!(stderr.ends_with(message), "{stderr}");
        assert_eq!(stderr.lines().count(), 1);
        assert!(key.is_none_or(|key| !stderr.contains(key)));
    }
}
