package main

import (
	"crypto"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/lestrrat-go/jwx/v2/jwk"
	"software.sslmate.com/src/go-pkcs12"
)

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

// A certificate with its key.
type pair struct {
	cert *x509.Certificate
	key  crypto.Signer
}

func (p pair) text() string { return block("CERTIFICATE", p.cert.Raw) }

func issue(name string, key crypto.Signer, parent *pair, change func(*x509.Certificate)) pair {
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(time.Now().UnixNano()),
		Subject:               pkix.Name{CommonName: name, Organization: []string{"keyferry test data"}},
		NotBefore:             time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC),
		NotAfter:              time.Date(2120, 1, 1, 0, 0, 0, 0, time.UTC),
		BasicConstraintsValid: true,
	}
	if change != nil {
		change(template)
	}
	signer, issuer := key, template
	if parent != nil {
		signer, issuer = parent.key, parent.cert
	}
	der := must(x509.CreateCertificate(rand.Reader, template, issuer, key.Public(), signer))
	return pair{must(x509.ParseCertificate(der)), key}
}

// fixtures writes keys, certificates and files made with them. All of it is test data: the keys protect nothing.
func fixtures(folder string) error {
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	write := func(name string, content []byte) {
		if err := os.WriteFile(filepath.Join(folder, name), content, 0o644); err != nil {
			panic(err)
		}
	}
	text := func(name, content string) { write(name, []byte(content)) }

	rsaKey := func() *rsa.PrivateKey { return must(rsa.GenerateKey(rand.Reader, 2048)) }
	ecKey := func(curve elliptic.Curve) *ecdsa.PrivateKey { return must(ecdsa.GenerateKey(curve, rand.Reader)) }
	ca := func(c *x509.Certificate) { c.IsCA = true }

	root := issue("Test Root", ecKey(elliptic.P256()), nil, ca)
	middle := issue("Test Intermediate", ecKey(elliptic.P256()), &root, ca)
	leafKey := rsaKey()
	leaf := issue("leaf.example", leafKey, &middle, func(c *x509.Certificate) { c.DNSNames = []string{"leaf.example"} })
	sans := issue("sans.example", ecKey(elliptic.P256()), &root, func(c *x509.Certificate) {
		c.DNSNames = []string{"sans.example", "*.sans.example"}
		c.IPAddresses = []net.IP{net.ParseIP("10.0.0.1"), net.ParseIP("2001:db8::1"), net.ParseIP("::ffff:1.2.3.4")}
		c.EmailAddresses = []string{"a@sans.example"}
		c.URIs = []*url.URL{must(url.Parse("spiffe://sans.example/a b?q=1#f"))}
	})
	self := issue("self.example", ecKey(elliptic.P384()), nil, nil)
	stranger := issue("stranger.example", ecKey(elliptic.P256()), &root, nil)

	text("root.crt", root.text())
	text("leaf.crt", leaf.text())
	text("sans.crt", sans.text())
	text("selfsigned.crt", self.text())
	text("chain.pem", leaf.text()+middle.text()+root.text())
	text("shuffled.pem", root.text()+leaf.text()+middle.text())
	text("disjunct.pem", leaf.text()+middle.text()+root.text()+stranger.text())

	ec256, ec384, ec521 := ecKey(elliptic.P256()), ecKey(elliptic.P384()), ecKey(elliptic.P521())
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	x25519 := must(ecdh.X25519().GenerateKey(rand.Reader))
	pkcs8 := func(key any) string { return block("PRIVATE KEY", must(x509.MarshalPKCS8PrivateKey(key))) }
	text("leaf.key", pkcs8(leafKey))
	text("rsa2048-pkcs1.key", string(pem.EncodeToMemory(&pem.Block{
		Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(leafKey)})))
	text("ec256-sec1.key", block("EC PRIVATE KEY", must(x509.MarshalECPrivateKey(ec256))))
	text("ec384.key", pkcs8(ec384))
	text("ec521.key", pkcs8(ec521))
	text("ed25519.key", pkcs8(ed))
	text("x25519.key", pkcs8(x25519))

	jwkOf := func(key any) []byte { return must(json.Marshal(must(jwk.FromRaw(key)))) }
	write("rsa.jwk", jwkOf(leafKey))
	write("rsa-public.jwk", jwkOf(leafKey.Public()))
	write("ec256.jwk", jwkOf(ec256))
	write("ec256-public.jwk", jwkOf(ec256.Public()))
	write("ec384-public.jwk", jwkOf(ec384.Public()))
	write("ec521.jwk", jwkOf(ec521))
	write("ed25519.jwk", jwkOf(ed))
	write("ed25519-public.jwk", jwkOf(ed.Public()))
	coordinate := base64.RawURLEncoding.EncodeToString
	write("x25519.jwk", must(json.Marshal(map[string]string{"kty": "OKP", "crv": "X25519",
		"x": coordinate(x25519.PublicKey().Bytes()), "d": coordinate(x25519.Bytes())})))
	write("oct.jwk", jwkOf([]byte("octets")))
	set := jwk.NewSet()
	if err := set.AddKey(must(jwk.FromRaw(ec256))); err != nil {
		return err
	}
	write("set.jwk", must(json.Marshal(set)))
	var parts map[string]any
	if err := json.Unmarshal(jwkOf(leafKey), &parts); err != nil {
		return err
	}
	for _, name := range []string{"p", "q", "dp", "dq", "qi"} {
		delete(parts, name)
	}
	write("rsa-nde.jwk", must(json.Marshal(parts)))

	for name, hash := range map[string]crypto.Hash{"sha1": crypto.SHA1, "sha256": crypto.SHA256, "sha512": crypto.SHA512} {
		sealed := must(rsa.EncryptOAEP(hash.New(), rand.Reader, &leafKey.PublicKey, []byte("oaep "+name), nil))
		write("oaep-"+name+".bin", sealed)
	}

	others := []*x509.Certificate{middle.cert, root.cert}
	write("modern.p12", must(pkcs12.Modern2023.Encode(leafKey, leaf.cert, others, "changeit")))
	write("pbmac1.p12", must(pkcs12.Modern2026.Encode(leafKey, leaf.cert, others, "changeit")))
	write("umlaut.p12", must(pkcs12.Modern2023.Encode(self.key, self.cert, nil, "pässwörd")))
	write("legacy.p12", must(pkcs12.LegacyRC2.Encode(leafKey, leaf.cert, others, "changeit")))
	write("des.p12", must(pkcs12.LegacyDES.Encode(leafKey, leaf.cert, nil, "")))
	write("chain-nopass.p12", must(pkcs12.Modern2023.Encode(leafKey, leaf.cert, others[1:], "")))
	write("passwordless.p12", must(pkcs12.Passwordless.Encode(leafKey, leaf.cert, others, "")))
	write("disjunct.p12", must(pkcs12.Modern2023.Encode(leafKey, leaf.cert, []*x509.Certificate{stranger.cert, root.cert, middle.cert}, "changeit")))
	write("ec.p12", must(pkcs12.Modern2023.Encode(self.key, self.cert, nil, "changeit")))
	write("trust.p12", must(pkcs12.Modern2023.EncodeTrustStore(others, "changeit")))
	return nil
}
