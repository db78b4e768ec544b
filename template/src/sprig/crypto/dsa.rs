//! DSA keys. Nothing makes them any more but `genPrivateKey "dsa"`.

use num_bigint::BigUint;
use zeroize::Zeroizing;

use super::super::random;
use crate::{
    env::Context,
    error::Failure,
    eso::der::{self, Bytes, Reader},
};

/// Bits of the modulus.
pub(super) const BITS: usize = 2048;

/// Bits of the order.
const ORDER_BITS: usize = 256;

/// Candidates that are tried: a hundred times as many as it takes on average.
const MOST_CANDIDATES: usize = 100_000;

/// Rounds of a test that lets one composite number in four pass. Candidates are random, not chosen by an enemy.
const ROUNDS: usize = 20;

fn number(context: &mut Context<'_, '_>, bits: usize) -> Result<BigUint, Failure> {
    let bytes = Zeroizing::new(random::bytes(context, bits / 8)?);
    Ok(BigUint::from_bytes_be(&bytes))
}

/// The primes below 2000.
fn small_primes() -> Vec<u32> {
    (2..2000).filter(|number| (2..*number).take_while(|d| d * d <= *number).all(|d| number % d != 0)).collect()
}

/// Is it a prime, as far as one can tell?
fn is_prime(context: &mut Context<'_, '_>, candidate: &BigUint, small: &[u32]) -> Result<bool, Failure> {
    let (zero, one) = (BigUint::ZERO, BigUint::from(1u8));
    if small.iter().any(|prime| candidate % prime == zero) {
        return Ok(false);
    }
    let least = candidate - &one;
    let twos = least.trailing_zeros().unwrap_or(0);
    let odd = &least >> twos;
    for round in 0..ROUNDS {
        let base = match round {
            0 => BigUint::from(2u8),
            _ => number(context, 128)? + 2u8,
        };
        let mut power = base.modpow(&odd, candidate);
        if power == one || power == least {
            continue;
        }
        let mut witness = true;
        for _ in 1..twos {
            power = &power * &power % candidate;
            if power == least {
                witness = false;
                break;
            }
        }
        if witness {
            return Ok(false);
        }
    }
    Ok(true)
}

/// A new key: version, modulus, order, generator, public and private number.
pub(super) fn generate(context: &mut Context<'_, '_>) -> Result<Bytes, Failure> {
    let small = small_primes();
    let one = BigUint::from(1u8);
    let (order, modulus) = primes(context, &small)?;
    let exponent = (&modulus - &one) / &order;
    let mut base = BigUint::from(2u8);
    let generator = loop {
        let power = base.modpow(&exponent, &modulus);
        if power == one { base += 1u8 } else { break power }
    };
    let private = number(context, ORDER_BITS + 64)? % (&order - &one) + &one;
    let public = generator.modpow(&private, &modulus);
    let numbers = [&modulus, &order, &generator, &public, &private]
        .map(|number| der::unsigned(&Zeroizing::new(number.to_bytes_be())));
    let mut parts: Vec<&[u8]> = vec![&[der::INTEGER, 1, 0]];
    parts.extend(numbers.iter().map(|number| number.as_slice()));
    Ok(der::sequence(&parts))
}

/// Two primes, of which the first divides the second less one.
fn primes(context: &mut Context<'_, '_>, small: &[u32]) -> Result<(BigUint, BigUint), Failure> {
    let one = BigUint::from(1u8);
    let order = loop {
        let mut candidate = number(context, ORDER_BITS)?;
        candidate.set_bit(0, true);
        candidate.set_bit(ORDER_BITS as u64 - 1, true);
        if is_prime(context, &candidate, small)? {
            break candidate;
        }
    };
    for _ in 0..MOST_CANDIDATES {
        let mut candidate = number(context, BITS)?;
        candidate.set_bit(BITS as u64 - 1, true);
        let candidate = &candidate - &candidate % (&order * 2u8) + &one;
        if candidate.bits() == BITS as u64 && is_prime(context, &candidate, small)? {
            return Ok((order, candidate));
        }
    }
    Err(Failure::new("failed to generate dsa params"))
}

/// Does it look like a key?
pub(super) fn is_key(bytes: &[u8]) -> bool {
    let read = || {
        let mut outer = Reader::new(bytes);
        let mut key = outer.sequence()?;
        (0..6).try_for_each(|_| key.take(der::INTEGER).map(|_| ()))
    };
    read().is_some()
}
