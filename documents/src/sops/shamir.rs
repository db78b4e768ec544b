//! A key out of parts of it, by Shamir's way over the field of AES.
//!
//! No step depends on a value: neither a branch nor a place in memory.

use keyferry_provider_core::{SecretBuf, SecretBytes};

/// Joins parts, each of which ends with the place that it is a value at. Nothing, where they can't be of one key.
pub fn combine(parts: &[SecretBytes]) -> Option<SecretBytes> {
    let length = parts.first()?.len();
    if parts.len() < 2 || length < 2 || parts.iter().any(|part| part.len() != length) {
        return None;
    }
    let places: Vec<u8> = parts.iter().map(|part| part.expose()[length - 1]).collect();
    let is_twice = |n: usize| places[..n].contains(&places[n]);
    if (0..places.len()).any(is_twice) {
        return None;
    }
    // What each part counts, at zero.
    let weight = |n: usize| {
        let others = places.iter().enumerate().filter(|(m, _)| *m != n);
        others.fold(1, |product, (_, place)| times(product, times(*place, inverse(places[n] ^ place))))
    };
    let weights: Vec<u8> = (0..places.len()).map(weight).collect();
    let mut key = SecretBuf::with_capacity(length - 1);
    for at in 0..length - 1 {
        key.push(parts.iter().zip(&weights).fold(0, |sum, (part, weight)| sum ^ times(part.expose()[at], *weight)));
    }
    Some(key.into())
}

fn times(one: u8, other: u8) -> u8 {
    let mut product = 0_u8;
    for bit in (0..8).rev() {
        let overflow = (product >> 7).wrapping_neg() & 0x1b;
        product = (product << 1) ^ overflow;
        product ^= (other >> bit & 1).wrapping_neg() & one;
    }
    product
}

/// To the power of 254.
fn inverse(of: u8) -> u8 {
    let mut result = 1;
    for bit in (0..8).rev() {
        result = times(result, result);
        if 254 >> bit & 1 == 1 {
            result = times(result, of);
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inverses_are() {
        assert!((1..=255).all(|of| times(of, inverse(of)) == 1));
        assert_eq!(times(0x53, 0xca), 1); // the example of the standard of AES
    }

    #[test]
    fn parts_join_and_others_do_not() {
        // The line that is `secret` at zero with these slopes.
        let (secret, slopes) = (b"key of 7".to_vec(), [3, 1, 4, 1, 5, 9, 2, 6]);
        let part = |place: u8| {
            let values = secret.iter().zip(slopes).map(|(secret, slope)| secret ^ times(slope, place));
            SecretBytes::new(values.chain([place]).collect())
        };
        for places in [[1, 2], [200, 7], [255, 1]] {
            assert_eq!(combine(&places.map(part)).unwrap().expose(), secret);
        }
        assert_eq!(combine(&[part(1), part(2), part(3)]).unwrap().expose(), secret);
        assert!(combine(&[part(1)]).is_none() && combine(&[part(1), part(1)]).is_none());
        assert!(combine(&[part(1), SecretBytes::new(vec![1, 2])]).is_none() && combine(&[]).is_none());
    }
}
