package main

import (
	"bytes"
	"crypto"
	"crypto/rsa"
	_ "crypto/sha1"
	_ "crypto/sha256"
	_ "crypto/sha512"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"

	"github.com/lestrrat-go/jwx/v2/jwk"
	"software.sslmate.com/src/go-pkcs12"
)

// ESO's functions for keys and certificates, written from its documentation over the libraries it uses.
var certificates = map[string]any{
	"pkcs12key":      func(file string) (string, error) { return keyOf("", file) },
	"pkcs12keyPass":  keyOf,
	"pkcs12cert":     func(file string) (string, error) { return chainOf("", file) },
	"pkcs12certPass": chainOf,

	"pemToPkcs12":         func(cert, key string) (string, error) { return pack(cert, key, "", false) },
	"pemToPkcs12Pass":     func(cert, key, pass string) (string, error) { return pack(cert, key, pass, false) },
	"fullPemToPkcs12":     func(cert, key string) (string, error) { return pack(cert, key, "", true) },
	"fullPemToPkcs12Pass": func(cert, key, pass string) (string, error) { return pack(cert, key, pass, true) },

	"pemTruststoreToPKCS12":     func(certs string) (string, error) { return trust(certs, "") },
	"pemTruststoreToPKCS12Pass": trust,

	"filterPEM":       filterPEM,
	"filterCertChain": filterCertChain,
	"certSANs":        certSANs,

	"jwkPublicKeyPem": func(key string) (string, error) {
		return fromJWK(key, "PUBLIC KEY", x509.MarshalPKIXPublicKey)
	},
	"jwkPrivateKeyPem": func(key string) (string, error) {
		return fromJWK(key, "PRIVATE KEY", x509.MarshalPKCS8PrivateKey)
	},

	"rsaDecrypt": rsaDecrypt,
}

func block(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

func keyOf(pass, file string) (string, error) {
	key, _, _, err := pkcs12.DecodeChain([]byte(file), pass)
	if err != nil {
		return "", err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	return block("PRIVATE KEY", der), err
}

func chainOf(pass, file string) (string, error) {
	_, leaf, others, err := pkcs12.DecodeChain([]byte(file), pass)
	if err != nil {
		return "", err
	}
	certs := append([]*x509.Certificate{leaf}, others...)
	if ordered, err := order(certs); err == nil {
		certs = ordered
	}
	var text strings.Builder
	for _, cert := range certs {
		text.WriteString(block("CERTIFICATE", cert.Raw))
	}
	return text.String(), nil
}

// all reads certificates up to the end of the text; anything else in there fails.
func all(text []byte) ([]*x509.Certificate, error) {
	var certs []*x509.Certificate
	for len(text) > 0 {
		found, rest := pem.Decode(text)
		if found == nil {
			return nil, errors.New("text that is no certificate")
		}
		cert, err := x509.ParseCertificate(found.Bytes)
		if err != nil {
			return nil, err
		}
		certs, text = append(certs, cert), rest
	}
	return certs, nil
}

func privateKey(text string) (any, error) {
	found, _ := pem.Decode([]byte(text))
	if found == nil {
		return nil, errors.New("no key")
	}
	if key, err := x509.ParsePKCS1PrivateKey(found.Bytes); err == nil {
		return key, nil
	}
	if key, err := x509.ParsePKCS8PrivateKey(found.Bytes); err == nil {
		return key, nil
	}
	return x509.ParseECPrivateKey(found.Bytes)
}

func pack(cert, key, pass string, full bool) (string, error) {
	found, rest := pem.Decode([]byte(cert))
	if found == nil {
		return "", errors.New("no certificate")
	}
	leaf, err := x509.ParseCertificate(found.Bytes)
	if err != nil {
		return "", err
	}
	var others []*x509.Certificate
	if full {
		if others, err = all(rest); err != nil {
			return "", err
		}
	}
	parsed, err := privateKey(key)
	if err != nil {
		return "", err
	}
	file, err := pkcs12.Modern.Encode(parsed, leaf, others, pass)
	return base64.StdEncoding.EncodeToString(file), err
}

func trust(text, pass string) (string, error) {
	certs, err := all([]byte(text))
	if err != nil {
		return "", err
	}
	file, err := pkcs12.Modern.EncodeTrustStore(certs, pass)
	return base64.StdEncoding.EncodeToString(file), err
}

// order sorts a chain from the leaf to the root by key identifiers alone.
func order(certs []*x509.Certificate) ([]*x509.Certificate, error) {
	parent := make([]int, len(certs))
	isParent := make([]bool, len(certs))
	for i, cert := range certs {
		parent[i] = -1
		for j, other := range certs {
			if i != j && bytes.Equal(cert.AuthorityKeyId, other.SubjectKeyId) {
				parent[i], isParent[j] = j, true
				break
			}
		}
	}
	leaf := -1
	for i := range certs {
		switch {
		case isParent[i]:
		case leaf >= 0:
			return nil, errors.New("more than one leaf")
		default:
			leaf = i
		}
	}
	if leaf < 0 {
		return nil, errors.New("no leaf")
	}
	var ordered []*x509.Certificate
	for at := leaf; at >= 0; at = parent[at] {
		if len(ordered) == len(certs) {
			return nil, errors.New("a cycle")
		}
		ordered = append(ordered, certs[at])
	}
	return ordered, nil
}

// fromBegin drops what stands before the first block, which pem.Decode of Go 1.26 no longer does.
func fromBegin(text string) []byte {
	if at := strings.Index(text, "-----BEGIN"); at >= 0 {
		return []byte(text[at:])
	}
	return []byte(text)
}

func filterPEM(kind, text string) (string, error) {
	var result strings.Builder
	rest := fromBegin(text)
	for {
		var found *pem.Block
		if found, rest = pem.Decode(rest); found == nil {
			break
		}
		if strings.EqualFold(found.Type, kind) {
			if err := pem.Encode(&result, found); err != nil {
				return "", err
			}
		}
	}
	if result.Len() == 0 && len(rest) > 0 {
		return "", errors.New("error filtering pem: found junk")
	}
	return result.String(), nil
}

func filterCertChain(kind, text string) (string, error) {
	var certs []*x509.Certificate
	for rest := []byte(text); ; {
		var found *pem.Block
		if found, rest = pem.Decode(rest); found == nil {
			break
		}
		cert, err := x509.ParseCertificate(found.Bytes)
		if err != nil {
			return "", err
		}
		certs = append(certs, cert)
	}
	certs, err := order(certs)
	if err != nil {
		return "", err
	}
	root := func(cert *x509.Certificate) bool {
		return cert.AuthorityKeyId == nil || bytes.Equal(cert.AuthorityKeyId, cert.SubjectKeyId)
	}
	var text2 strings.Builder
	switch last := certs[len(certs)-1]; kind {
	case "leaf":
		if !root(certs[0]) {
			text2.WriteString(block("CERTIFICATE", certs[0].Raw))
		}
	case "intermediate":
		for _, cert := range certs[1:] {
			if root(cert) {
				break
			}
			text2.WriteString(block("CERTIFICATE", cert.Raw))
		}
	case "root":
		if root(last) {
			text2.WriteString(block("CERTIFICATE", last.Raw))
		}
	}
	return text2.String(), nil
}

func certSANs(text string) ([]string, error) {
	found, _ := pem.Decode(fromBegin(text))
	if found == nil {
		return nil, errors.New("failed to decode PEM block")
	}
	cert, err := x509.ParseCertificate(found.Bytes)
	if err != nil {
		return nil, fmt.Errorf("failed to parse certificate: %w", err)
	}
	names := append([]string{}, cert.DNSNames...)
	for _, ip := range cert.IPAddresses {
		names = append(names, ip.String())
	}
	names = append(names, cert.EmailAddresses...)
	for _, uri := range cert.URIs {
		names = append(names, uri.String())
	}
	return names, nil
}

func fromJWK(text, kind string, marshal func(any) ([]byte, error)) (string, error) {
	key, err := jwk.ParseKey([]byte(text))
	if err != nil {
		return "", err
	}
	var raw any
	if err := key.Raw(&raw); err != nil {
		return "", err
	}
	der, err := marshal(raw)
	return block(kind, der), err
}

func rsaDecrypt(scheme, hash, ciphertext, key string) (string, error) {
	switch scheme {
	case "None":
		return ciphertext, nil
	case "RSA-OAEP":
	default:
		return "", fmt.Errorf("decryption scheme %v is not supported", scheme)
	}
	parsed, err := privateKey(key)
	if err != nil {
		return "", err
	}
	rsaKey, ok := parsed.(*rsa.PrivateKey)
	if !ok {
		return "", errors.New("not an RSA key")
	}
	hashes := map[string]crypto.Hash{"SHA1": crypto.SHA1, "SHA512": crypto.SHA512}
	chosen, ok := hashes[hash]
	if !ok {
		chosen = crypto.SHA256
	}
	plain, err := rsa.DecryptOAEP(chosen.New(), nil, rsaKey, []byte(ciphertext), nil)
	return string(plain), err
}
