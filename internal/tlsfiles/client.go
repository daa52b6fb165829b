package tlsfiles

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
)

// Client holds the settings of a TLS client of HTTP/1.1. Packages have settings of their
// own, with the same fields, and convert them to it.
type Client struct {
	// CA names the authorities to trust, in place of the system's.
	CA string
	// Cert and Key are the client certificate and its private key.
	Cert, Key string
	// ServerName is the name in the server's certificate, where it is not the host.
	ServerName string
	// MinVersion is 1.2, which is the default, or 1.3.
	MinVersion string
}

// Config reads the files, for connections to a host. An error begins with the key of the
// setting, which lies within at. There is no session cache: a resumed session would keep
// the client certificate that it began with.
func (c Client) Config(host, at string) (*tls.Config, error) {
	t := &tls.Config{ServerName: host, NextProtos: []string{"http/1.1"}}
	if c.ServerName != "" {
		t.ServerName = c.ServerName
	}
	switch c.MinVersion {
	case "", "1.2":
		t.MinVersion = tls.VersionTLS12
	case "1.3":
		t.MinVersion = tls.VersionTLS13
	default:
		return nil, fmt.Errorf("%s.tls.min_version is %q: it must be 1.2 or 1.3", at, c.MinVersion)
	}
	var err error
	if c.CA != "" {
		if t.RootCAs, err = Pool(c.CA); err != nil {
			return nil, fmt.Errorf("%s.tls.ca: %w", at, err)
		}
	}
	if c.Cert != "" || c.Key != "" {
		pair, err := LoadPair(c.Cert, c.Key)
		if err != nil {
			return nil, fmt.Errorf("%s.tls.cert and %s.tls.key: %w", at, at, err)
		}
		t.GetClientCertificate = pair.ForClient
	}
	return t, nil
}

// Remedy says what to do about a handshake that failed with err. The TLS settings lie
// within at, urlKey is the key of the URL, and serverName what the certificate had to be for.
func Remedy(err error, serverName, at, urlKey string) string {
	var (
		authority x509.UnknownAuthorityError
		name      x509.HostnameError
		invalid   x509.CertificateInvalidError
		record    tls.RecordHeaderError
	)
	switch {
	case errors.As(err, &authority):
		return fmt.Sprintf("the certificate is of an authority that is not trusted: name the authority's file in %s.tls.ca", at)
	case errors.As(err, &name):
		return fmt.Sprintf("the certificate is for another name than %q: set %s.tls.server_name to one that it has", serverName, at)
	case errors.As(err, &invalid):
		return fmt.Sprintf("the certificate is not valid: renew it, or see %s.tls.ca and %s.tls.server_name", at, at)
	case errors.As(err, &record):
		return fmt.Sprintf("it does not speak TLS: write http:// in %s", urlKey)
	case Refused(err):
		return fmt.Sprintf("it refused the TLS handshake: see %s.tls.cert, %s.tls.key and %s.tls.server_name", at, at, at)
	}
	return fmt.Sprintf("no TLS handshake: does it speak TLS, and is %s right?", urlKey)
}

// Refused reports a TLS alert of the peer. It may come after the handshake, where the first
// response was expected.
func Refused(err error) bool {
	var remote *net.OpError
	return errors.As(err, &remote) && remote.Op == "remote error"
}
