package pillion

import (
	"crypto/tls"
	"crypto/x509"
	"os"

	"github.com/pillion-proxy/pillion/proxy"
)

// tlsFiles checks the settings of a TLS client, whose keys begin with at.
func (v *validator) tlsFiles(at, ca, cert, key, serverName string) {
	if ca != "" {
		v.caFile(at+".ca", ca)
	}
	if serverName != "" && !hostName(serverName) {
		v.add(at+".server_name", serverName, "is not a host name", "write the name in the server's certificate")
	}
	switch {
	case cert != "" && key == "":
		v.add(at+".key", "", "is empty, while "+at+".cert is set", "name the file of the certificate's private key")
	case cert == "" && key != "":
		v.add(at+".cert", "", "is empty, while "+at+".key is set", "name the file of the private key's certificate")
	case cert != "":
		v.keyPair(at, cert, key)
	}
}

func (v *validator) serverTLS(t proxy.ServerTLS) {
	v.oneOf("server.tls.min_version", t.MinVersion, "a version of TLS that is safe", "1.2", "1.3")
	v.tlsFiles("server.tls", "", t.Cert, t.Key, "")
	if t.ClientCA == "" {
		return
	}
	if t.Cert == "" && t.Key == "" {
		v.add("server.tls.client_ca", t.ClientCA, "is set, but server.tls.cert is not", "name the listener's certificate in server.tls.cert and server.tls.key, or remove this key")
	}
	v.caFile("server.tls.client_ca", t.ClientCA)
}

func (v *validator) caFile(key, path string) {
	pem, ok := v.pemFile(key, path)
	if ok && !x509.NewCertPool().AppendCertsFromPEM(pem) {
		v.add(key, path, "is a file without a certificate", "name a file of PEM-encoded certificates")
	}
}

func (v *validator) keyPair(at, certFile, keyFile string) {
	cert, certOK := v.pemFile(at+".cert", certFile)
	key, keyOK := v.pemFile(at+".key", keyFile)
	if !certOK || !keyOK {
		return
	}
	if _, err := tls.X509KeyPair(cert, key); err != nil {
		v.add(at+".cert", certFile, "and "+at+".key are not a certificate and its private key", "name PEM-encoded files that belong together")
	}
}

func (v *validator) pemFile(key, path string) ([]byte, bool) {
	const limit = 1 << 20
	data, err := readBounded(path, limit)
	switch {
	case os.IsNotExist(err):
		v.add(key, path, "is a file that does not exist", "name the PEM-encoded file")
	case err != nil:
		v.add(key, path, "is a file that "+fileTrouble(err), "name a PEM-encoded file that this process may read")
	case len(data) > limit:
		v.add(key, path, "is a file of more than 1MiB", "name the PEM-encoded file")
	default:
		return data, true
	}
	return nil, false
}
