use super::*;
use age::{Identity as _, Recipient as _};
use commonware_cryptography::bls12381::primitives::{group::Private, ops};
use proptest::prelude::*;

const TARGET: Target = Target { purpose: Purpose::File, epoch: 7, app: AppId([0xab; 32]), version: 2 };

fn network_key() -> (Private, PublicKey) {
    let (private, public) = ops::keypair::<_, MinSig>(&mut ChaCha20Rng::from_seed([1; 32]));
    (private, PublicKey(public.encode().to_vec().try_into().unwrap()))
}

fn app_key(private: &Private, target: &Target) -> [u8; 48] {
    let message = app_key_message(&target.app, target.version);
    ops::sign_message::<MinSig>(private, APP_KEY_NAMESPACE, &message).encode().to_vec().try_into().unwrap()
}

fn identity(target: Target) -> AppIdentity {
    let (private, public) = network_key();
    AppIdentity::new(target, &public, &app_key(&private, &target)).unwrap()
}

fn stanza(file_key: [u8; 16]) -> Stanza {
    let recipient = AppRecipient::new(TARGET, &network_key().1).unwrap();
    let (mut stanzas, labels) = recipient.wrap_file_key(&FileKey::new(Box::new(file_key))).unwrap();
    assert!(labels.is_empty());
    assert_eq!(stanzas.len(), 1);
    stanzas.remove(0)
}

#[test]
fn a_file_goes_through_age() {
    let recipient = AppRecipient::new(TARGET, &network_key().1).unwrap();
    let file = age::encrypt(&recipient, b"what nobody else reads").unwrap();
    assert_eq!(age::decrypt(&identity(TARGET), &file).unwrap(), b"what nobody else reads");
    for other in [
        Target { purpose: Purpose::JobInput, ..TARGET },
        Target { epoch: 8, ..TARGET },
        Target { version: 3, ..TARGET },
        Target { app: AppId([0; 32]), ..TARGET },
    ] {
        assert!(matches!(age::decrypt(&identity(other), &file), Err(DecryptError::NoMatchingKeys)));
    }
}

#[test]
fn the_stanza_has_the_documented_form() {
    let stanza = stanza([9; 16]);
    assert_eq!(stanza.tag, "phala");
    assert_eq!(stanza.args, ["file".to_owned(), "7".to_owned(), "ab".repeat(32), "2".to_owned()]);
    assert_eq!(stanza.body.len(), BODY_BYTES);
    assert_eq!(Target::of(&stanza), Some(Ok(TARGET)));
    assert_eq!(identity(TARGET).unwrap_stanza(&stanza).unwrap().unwrap().expose_secret(), &[9; 16]);
    // Fresh each time.
    assert_ne!(self::stanza([9; 16]).body, stanza.body);
}

#[test]
fn a_file_cannot_be_given_another_purpose() {
    let file = age::encrypt(&AppRecipient::new(TARGET, &network_key().1).unwrap(), b"mine").unwrap();
    let at = file.windows(6).position(|bytes| bytes == b" file ").unwrap();
    let forged = [&file[..at], b" job ", &file[at + 6..]].concat();
    let target = Target { purpose: Purpose::JobInput, ..TARGET };
    assert!(age::decrypt(&identity(target), &forged).is_err());
}

#[test]
fn malformed_stanzas_are_refused() {
    let good = stanza([9; 16]);
    let with = |change: &dyn Fn(&mut Stanza)| {
        let mut stanza = Stanza { tag: good.tag.clone(), args: good.args.clone(), body: good.body.clone() };
        change(&mut stanza);
        stanza
    };
    let malformed: [&dyn Fn(&mut Stanza); 10] = [
        &|stanza| stanza.args.clear(),
        &|stanza| stanza.args.push("1".to_owned()),
        &|stanza| stanza.args[0] = "code".to_owned(),
        &|stanza| stanza.args[1] = "07".to_owned(),
        &|stanza| stanza.args[1] = "+7".to_owned(),
        &|stanza| stanza.args[1] = "4294967296".to_owned(),
        &|stanza| stanza.args[2] = "AB".repeat(32),
        &|stanza| stanza.args[2] = "ab".repeat(31),
        &|stanza| stanza.args[3] = "-2".to_owned(),
        &|stanza| stanza.body.push(0),
    ];
    for change in malformed {
        let stanza = with(change);
        assert_eq!(Target::of(&stanza), Some(Err(MalformedStanza)));
        assert!(matches!(identity(TARGET).unwrap_stanza(&stanza), Some(Err(DecryptError::InvalidHeader))));
    }
    let other = with(&|stanza| stanza.tag = "X25519".to_owned());
    assert!(Target::of(&other).is_none() && identity(TARGET).unwrap_stanza(&other).is_none());
}

#[test]
fn a_header_says_for_which_apps_a_file_is() {
    let other = Target { purpose: Purpose::JobInput, epoch: 8, ..TARGET };
    let recipients = [TARGET, other].map(|target| AppRecipient::new(target, &network_key().1).unwrap());
    let stranger = age::x25519::Identity::generate().to_public();
    let encrypted = |recipients: &[&dyn age::Recipient]| {
        let mut file = Vec::new();
        let mut writer =
            age::Encryptor::with_recipients(recipients.iter().copied()).unwrap().wrap_output(&mut file).unwrap();
        io::Write::write_all(&mut writer, b"secret").unwrap();
        writer.finish().unwrap();
        file
    };
    let file = encrypted(&[&recipients[0], &stranger, &recipients[1]]);
    assert_eq!(targets(&file), Ok(vec![TARGET, other]));
    assert_eq!(targets(&encrypted(&[&stranger])), Ok(vec![]));
    // Of a file that is cut off in its header there is no header.
    let end = file.windows(5).position(|bytes| bytes == b"\n--- ").unwrap() + 1;
    for length in 0..end {
        assert_eq!(targets(&file[..length]), Err(HeaderError::NoHeader), "{length}");
    }
    assert!(targets(&file[..end + LAST_LINE.len()]).is_ok());
}

#[test]
fn headers_that_are_none_too_long_or_malformed_are_refused() {
    let file = age::encrypt(&AppRecipient::new(TARGET, &network_key().1).unwrap(), b"mine").unwrap();
    for bad in [
        b"".as_slice(),
        b"age-encryption.org/v1",
        b"age-encryption.org/v2\n--- x",
        b"-----BEGIN AGE ENCRYPTED FILE-----",
    ] {
        assert_eq!(targets(bad), Err(HeaderError::NoHeader));
    }
    let filler = b"-> x y\n\n".repeat(MAX_HEADER_BYTES / 8);
    let long = [FIRST_LINE, &filler, &file[FIRST_LINE.len()..]].concat();
    assert_eq!(targets(&long), Err(HeaderError::NoHeader));
    let at = file.windows(9).position(|bytes| bytes == b"phala fil").unwrap();
    let malformed = [&file[..at], b"phala exe", &file[at + 9..]].concat();
    assert_eq!(targets(&malformed), Err(HeaderError::Stanza(MalformedStanza)));
}

#[test]
fn no_byte_of_the_body_can_change() {
    let good = stanza([9; 16]);
    let identity = identity(TARGET);
    for at in 0..BODY_BYTES {
        let mut body = good.body.clone();
        body[at] ^= 1;
        let changed = Stanza { tag: good.tag.clone(), args: good.args.clone(), body };
        assert!(identity.unwrap_stanza(&changed).unwrap().is_err(), "byte {at}");
    }
}

#[test]
fn the_padding_is_checked() {
    let (_, public) = network_key();
    let message = app_key_message(&TARGET.app, TARGET.version);
    let ciphertext: Ciphertext<MinSig> = encrypt(
        &mut ChaCha20Rng::from_seed([2; 32]),
        point(&public).unwrap(),
        (APP_KEY_NAMESPACE, &message),
        &Block::new([0; 32]),
    )
    .unwrap();
    let stanza = Stanza { tag: TAG.to_owned(), args: TARGET.arguments(), body: ciphertext.encode().to_vec() };
    assert!(matches!(identity(TARGET).unwrap_stanza(&stanza), Some(Err(DecryptError::InvalidHeader))));
}

#[test]
fn false_keys_are_refused() {
    let (private, public) = network_key();
    for bytes in [[0; 96], [0xff; 96], {
        let mut identity = [0; 96];
        identity[0] = 0xc0;
        identity
    }] {
        assert_eq!(AppRecipient::new(TARGET, &PublicKey(bytes)).unwrap_err(), InvalidPublicKey);
        assert_eq!(
            AppIdentity::new(TARGET, &PublicKey(bytes), &app_key(&private, &TARGET)).unwrap_err(),
            AppIdentityError::PublicKey
        );
    }
    let other = app_key(&private, &Target { version: 1, ..TARGET });
    assert_eq!(AppIdentity::new(TARGET, &public, &other).unwrap_err(), AppIdentityError::Signature);
    assert_eq!(AppIdentity::new(TARGET, &public, &[0; 48]).unwrap_err(), AppIdentityError::Signature);
}

#[test]
fn debug_shows_no_key() {
    let text = format!("{:?}", identity(TARGET));
    assert!(text.starts_with("AppIdentity(Target") && !text.contains("signature"), "{text}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn garbage_never_panics(tag in "phala|x", args in prop::collection::vec(".{0,70}", 0..5), body in prop::collection::vec(any::<u8>(), 0..200)) {
        let stanza = Stanza { tag, args, body };
        prop_assert!(!matches!(identity(TARGET).unwrap_stanza(&stanza), Some(Ok(_))));
    }

    #[test]
    fn garbage_headers_never_panic(at in any::<prop::sample::Index>(), garbage in "[-> a-zA-Z0-9+/\n]{0,80}|.{0,20}") {
        let file = age::encrypt(&AppRecipient::new(TARGET, &network_key().1).unwrap(), b"").unwrap();
        let at = at.index(file.len());
        let changed = [&file[..at], garbage.as_bytes(), &file[at..]].concat();
        let _ = (targets(&changed), targets(garbage.as_bytes()), targets(&[FIRST_LINE, garbage.as_bytes()].concat()));
    }

    #[test]
    fn garbage_bodies_never_panic(body in prop::collection::vec(any::<u8>(), BODY_BYTES)) {
        let stanza = Stanza { tag: TAG.to_owned(), args: TARGET.arguments(), body };
        prop_assert!(identity(TARGET).unwrap_stanza(&stanza).unwrap().is_err());
    }

    #[test]
    fn any_public_key_is_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 96)) {
        let _ = AppRecipient::new(TARGET, &PublicKey(bytes.try_into().unwrap()));
    }
}
