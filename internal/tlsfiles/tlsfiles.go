// Package tlsfiles reads certificates and keys from PEM files, and reads them again
// when they change: certificates are short-lived, processes are not. It makes the settings
// of TLS clients of them, and explains their failures.
package tlsfiles

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// maxFile bounds a file that is read.
const maxFile = 1 << 20

// lookEvery is how often the files of a Pair are looked at.
const lookEvery = time.Second

// Pool reads certificate authorities.
func Pool(path string) (*x509.CertPool, error) {
	pem, err := read(path)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s holds no PEM certificate", path)
	}
	return pool, nil
}

func read(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(b) > maxFile {
		err = fmt.Errorf("%s has more than %d bytes", path, maxFile)
	}
	return b, err
}

// Pair is a certificate and its private key. It is safe for concurrent use.
type Pair struct {
	certFile, keyFile string
	current           atomic.Pointer[tls.Certificate]

	mu   sync.Mutex
	next time.Time // of the next look at the files
	seen [2]stamp  // the files of current
}

// stamp tells one content of a file from another. A rename over the file, as
// orchestrators do it, changes the time too.
type stamp struct {
	modified time.Time
	size     int64
}

// LoadPair reads a pair.
func LoadPair(certFile, keyFile string) (*Pair, error) {
	p := &Pair{certFile: certFile, keyFile: keyFile, next: time.Now().Add(lookEvery)}
	seen, err := p.stamps()
	if err != nil {
		return nil, err
	}
	if err := p.load(); err != nil {
		return nil, err
	}
	p.seen = seen
	return p, nil
}

func (p *Pair) load() error {
	cert, err := read(p.certFile)
	if err != nil {
		return err
	}
	key, err := read(p.keyFile)
	if err != nil {
		return err
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return fmt.Errorf("%s and %s are not a certificate and its private key: %w", p.certFile, p.keyFile, err)
	}
	p.current.Store(&pair)
	return nil
}

func (p *Pair) stamps() (out [2]stamp, err error) {
	for i, path := range [2]string{p.certFile, p.keyFile} {
		fi, err := os.Stat(path)
		if err != nil {
			return out, err
		}
		out[i] = stamp{fi.ModTime(), fi.Size()}
	}
	return out, nil
}

// Certificate gives the pair as it is on disk, at most a second old. One that
// cannot be used, such as a certificate whose key is not written yet, is tried
// again a second later; until it can, the last good one is given.
func (p *Pair) Certificate() *tls.Certificate {
	// A handshake does not wait for another's look at the files.
	if p.mu.TryLock() {
		p.refresh()
		p.mu.Unlock()
	}
	return p.current.Load()
}

func (p *Pair) refresh() {
	now := time.Now()
	if now.Before(p.next) {
		return
	}
	p.next = now.Add(lookEvery)
	// The stamps are taken before the content: what changes in between is seen as
	// a change at the next look.
	if seen, err := p.stamps(); err == nil && seen != p.seen && p.load() == nil {
		p.seen = seen
	}
}

// ForServer is a tls.Config's GetCertificate.
func (p *Pair) ForServer(*tls.ClientHelloInfo) (*tls.Certificate, error) { return p.Certificate(), nil }

// ForClient is a tls.Config's GetClientCertificate.
func (p *Pair) ForClient(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
	return p.Certificate(), nil
}
