//! Ciphers and signatures of tokens.

use super::{ConvertDef, convert, int};
use crate::args::{Arg, ArgKind::*, ArgList, ArgSpec, args};
use crate::{Ctx, Sample};
use aws_lc_rs::aead::{Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::cipher::{
    AES_128, AES_192, AES_256, Algorithm, DecryptionContext, EncryptionContext,
    PaddedBlockDecryptingKey, PaddedBlockEncryptingKey, UnboundCipherKey,
};
use aws_lc_rs::{aead, hmac, signature};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use std::borrow::Cow;

const GCM: ArgSpec = args(&[IntIn(128, 256), KeyOrVar, KeyOrVar, KeyOrVar], 4);
const GCM_OUT: ArgSpec = args(&[IntIn(128, 256), KeyOrVar, KeyOrVar, Var], 4);
const CBC: ArgSpec = args(&[IntIn(128, 256), KeyOrVar, KeyOrVar], 3);

pub static TABLE: &[ConvertDef] = &[
    convert! { "aes_cbc_dec", CBC, Bin => Bin,
        "deciphered by AES in CBC mode (bits, nonce and key in base64 or a variable with it)",
        "str(abc),aes_cbc_enc(128,MDAwMDAwMDAwMDAwMDAwMA==,MTIzNDU2Nzg5MDEyMzQ1Ng==),aes_cbc_dec(128,MDAwMDAwMDAwMDAwMDAwMA==,MTIzNDU2Nzg5MDEyMzQ1Ng==)" => "abc",
        |a, s, cx| cbc_decipher(a, s, cx)
    },
    convert! { "aes_cbc_enc", CBC, Bin => Bin,
        "enciphered by AES in CBC mode (bits, nonce and key in base64 or a variable with it)",
        "str(abc),aes_cbc_enc(128,MDAwMDAwMDAwMDAwMDAwMA==,MTIzNDU2Nzg5MDEyMzQ1Ng==),aes_cbc_dec(128,MDAwMDAwMDAwMDAwMDAwMA==,MTIzNDU2Nzg5MDEyMzQ1Ng==)" => "abc",
        |a, s, cx| cbc_encipher(a, s, cx)
    },
    convert! { "aes_gcm_dec", GCM, Bin => Bin,
        "deciphered by AES in GCM mode (bits, nonce, key and tag in base64 or a variable with it), if the tag fits",
        "str(abc),aes_gcm_enc(128,MDAwMDAwMDAwMDAw,MTIzNDU2Nzg5MDEyMzQ1Ng==,txn.tag),aes_gcm_dec(128,MDAwMDAwMDAwMDAw,MTIzNDU2Nzg5MDEyMzQ1Ng==,txn.tag)" => "abc",
        |a, s, cx| gcm_open(a, s, cx)
    },
    convert! { "aes_gcm_enc", GCM_OUT, Bin => Bin,
        "enciphered by AES in GCM mode (bits, nonce and key in base64 or a variable with it); the tag goes into a variable",
        "str(abc),aes_gcm_enc(128,MDAwMDAwMDAwMDAw,MTIzNDU2Nzg5MDEyMzQ1Ng==,txn.tag),length" => "3",
        |a, s, cx| gcm_seal(a, s, cx)
    },
    convert! { "jwt_verify", args(&[StrOrVar, JwtKey], 2), Str => Int,
        "whether the token's signature is right (1), wrong (0) or cannot be checked (below 0)",
        "str(eyJhbGciOiJIUzI1NiJ9.e30.CYG8qKSuUG1cj5ZM7YUE3kRjuUjOfiv14zgdYx-7pLo),jwt_verify(HS256,k)" => "1",
        |a, s, cx| int(verify(a, &s.to_bytes(), cx))
    },
];

/// The bytes of an argument that is base64, or a variable with base64 in it.
fn bytes<'s>(args: &'s [Arg], at: usize, cx: &Ctx<'_>) -> Option<Cow<'s, [u8]>> {
    match args.get(at)? {
        Arg::Str(key) => Some(Cow::Borrowed(key)),
        Arg::Var(name) => {
            let value = cx.var(name)?;
            STANDARD.decode(&*value.to_bytes()).ok().map(Cow::Owned)
        }
        _ => None,
    }
}

fn gcm_key(args: &[Arg], cx: &Ctx<'_>) -> Option<(LessSafeKey, Nonce)> {
    let algorithm = match args.int(0)? {
        128 => &aead::AES_128_GCM,
        192 => &aead::AES_192_GCM,
        256 => &aead::AES_256_GCM,
        _ => return None,
    };
    let key = UnboundKey::new(algorithm, &bytes(args, 2, cx)?).ok()?;
    let nonce = Nonce::try_assume_unique_for_key(&bytes(args, 1, cx)?).ok()?;
    Some((LessSafeKey::new(key), nonce))
}

fn gcm_open<'s>(args: &[Arg], sample: Sample<'_>, cx: &Ctx<'_>) -> Option<Sample<'s>> {
    let (key, nonce) = gcm_key(args, cx)?;
    let mut all = sample.to_bytes().into_owned();
    all.extend_from_slice(&bytes(args, 3, cx)?);
    let plain = key.open_in_place(nonce, Aad::empty(), &mut all).ok()?;
    Some(Sample::Bin(Cow::Owned(plain.to_vec())))
}

fn gcm_seal<'s>(args: &[Arg], sample: Sample<'_>, cx: &Ctx<'_>) -> Option<Sample<'s>> {
    let (key, nonce) = gcm_key(args, cx)?;
    let mut all = sample.to_bytes().into_owned();
    let tag = key
        .seal_in_place_separate_tag(nonce, Aad::empty(), &mut all)
        .ok()?;
    let tag = Sample::owned(STANDARD.encode(tag.as_ref()));
    cx.set_var(args.var(3)?, tag, &[]);
    Some(Sample::Bin(Cow::Owned(all)))
}

fn cbc_key(args: &[Arg], cx: &Ctx<'_>) -> Option<(UnboundCipherKey, [u8; 16])> {
    let algorithm: &Algorithm = match args.int(0)? {
        128 => &AES_128,
        192 => &AES_192,
        256 => &AES_256,
        _ => return None,
    };
    let key = UnboundCipherKey::new(algorithm, &bytes(args, 2, cx)?).ok()?;
    let iv = <[u8; 16]>::try_from(&*bytes(args, 1, cx)?).ok()?;
    Some((key, iv))
}

fn cbc_encipher<'s>(args: &[Arg], sample: Sample<'_>, cx: &Ctx<'_>) -> Option<Sample<'s>> {
    let (key, iv) = cbc_key(args, cx)?;
    let key = PaddedBlockEncryptingKey::cbc_pkcs7(key).ok()?;
    let mut all = sample.to_bytes().into_owned();
    key.less_safe_encrypt(&mut all, EncryptionContext::Iv128(iv.into()))
        .ok()?;
    Some(Sample::Bin(Cow::Owned(all)))
}

fn cbc_decipher<'s>(args: &[Arg], sample: Sample<'_>, cx: &Ctx<'_>) -> Option<Sample<'s>> {
    let (key, iv) = cbc_key(args, cx)?;
    let key = PaddedBlockDecryptingKey::cbc_pkcs7(key).ok()?;
    let mut all = sample.to_bytes().into_owned();
    let plain = key
        .decrypt(&mut all, DecryptionContext::Iv128(iv.into()))
        .ok()?;
    Some(Sample::Bin(Cow::Owned(plain.to_vec())))
}

/// The answers of `jwt_verify` (manual section 7.3.1).
mod answer {
    pub const WRONG: i64 = 0;
    pub const RIGHT: i64 = 1;
    pub const UNKNOWN_ALGORITHM: i64 = -1;
    pub const UNMANAGED_ALGORITHM: i64 = -2;
    pub const INVALID_TOKEN: i64 = -3;
    pub const UNKNOWN_KEY: i64 = -5;
}

/// Checks a signature (RFC 7515 section 5.2, RFC 7518 section 3).
fn verify(args: &[Arg], token: &[u8], cx: &Ctx<'_>) -> i64 {
    let algorithm = match args.first() {
        Some(Arg::Var(name)) => cx.var(name).map(|v| v.to_bytes().into_owned()),
        _ => args.text(0).map(<[u8]>::to_vec),
    };
    let algorithm = algorithm.unwrap_or_default();
    let parts: Vec<&[u8]> = token.split(|b| *b == b'.').collect();
    let [header, payload, signature] = parts.as_slice() else {
        return answer::INVALID_TOKEN;
    };
    let Ok(signature) = URL_SAFE_NO_PAD.decode(signature) else {
        return answer::INVALID_TOKEN;
    };
    let signed = [header, &b"."[..], payload].concat();
    let key = match args.get(1) {
        Some(Arg::Var(name)) => match cx.var(name) {
            Some(value) => Cow::Owned(value.to_bytes().into_owned()),
            None => return answer::UNKNOWN_KEY,
        },
        Some(Arg::Str(key)) => Cow::Borrowed(&**key),
        Some(Arg::PublicKey(key)) => Cow::Borrowed(&**key),
        _ => return answer::UNKNOWN_KEY,
    };
    let asymmetric = |how: &'static dyn signature::VerificationAlgorithm| {
        let Some(Arg::PublicKey(key)) = args.get(1) else {
            return answer::UNKNOWN_KEY;
        };
        let key = signature::UnparsedPublicKey::new(how, key);
        match key.verify(&signed, &signature) {
            Ok(()) => answer::RIGHT,
            Err(_) => answer::WRONG,
        }
    };
    let symmetric = |how: hmac::Algorithm| {
        let key = hmac::Key::new(how, &key);
        match hmac::verify(&key, &signed, &signature) {
            Ok(()) => answer::RIGHT,
            Err(_) => answer::WRONG,
        }
    };
    match algorithm.as_slice() {
        b"HS256" => symmetric(hmac::HMAC_SHA256),
        b"HS384" => symmetric(hmac::HMAC_SHA384),
        b"HS512" => symmetric(hmac::HMAC_SHA512),
        b"RS256" => asymmetric(&signature::RSA_PKCS1_2048_8192_SHA256),
        b"RS384" => asymmetric(&signature::RSA_PKCS1_2048_8192_SHA384),
        b"RS512" => asymmetric(&signature::RSA_PKCS1_2048_8192_SHA512),
        b"PS256" => asymmetric(&signature::RSA_PSS_2048_8192_SHA256),
        b"PS384" => asymmetric(&signature::RSA_PSS_2048_8192_SHA384),
        b"PS512" => asymmetric(&signature::RSA_PSS_2048_8192_SHA512),
        b"ES256" => asymmetric(&signature::ECDSA_P256_SHA256_FIXED),
        b"ES384" => asymmetric(&signature::ECDSA_P384_SHA384_FIXED),
        b"ES512" => asymmetric(&signature::ECDSA_P521_SHA512_FIXED),
        b"none" => answer::UNMANAGED_ALGORITHM,
        _ => answer::UNKNOWN_ALGORITHM,
    }
}
