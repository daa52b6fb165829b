package proxy

import (
	"crypto/tls"
	"fmt"

	"github.com/pillion-proxy/pillion/internal/tlsfiles"
)

// ServerTLS makes the listener speak TLS. It is off without a certificate.
type ServerTLS struct {
	// Cert and Key are PEM files: the certificate with its chain, and its private key.
	// They are read again when they change.
	Cert string `yaml:"cert" env:"CERT"`
	Key  string `yaml:"key" env:"KEY"`
	// ClientCA names the authorities of which each client must have a certificate.
	ClientCA string `yaml:"client_ca" env:"CLIENT_CA"`
	// MinVersion is 1.2 or 1.3.
	MinVersion string `yaml:"min_version" env:"MIN_VERSION"`
}

// Config reads the files. It is nil when there is no certificate.
func (t ServerTLS) Config() (*tls.Config, error) {
	if t.Cert == "" && t.Key == "" {
		return nil, nil
	}
	pair, err := tlsfiles.LoadPair(t.Cert, t.Key)
	if err != nil {
		return nil, fmt.Errorf("server.tls.cert and server.tls.key: %w", err)
	}
	cfg := &tls.Config{GetCertificate: pair.ForServer, MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}}
	if t.MinVersion == "1.3" {
		cfg.MinVersion = tls.VersionTLS13
	}
	if t.ClientCA != "" {
		if cfg.ClientCAs, err = tlsfiles.Pool(t.ClientCA); err != nil {
			return nil, fmt.Errorf("server.tls.client_ca: %w", err)
		}
		cfg.ClientAuth = tls.RequireAndVerifyClientCert
	}
	return cfg, nil
}
