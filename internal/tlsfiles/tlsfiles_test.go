package tlsfiles

import (
	"crypto/tls"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pillion-proxy/pillion/internal/tlstest"
)

func TestPool(t *testing.T) {
	a := tlstest.New(t)
	pool, err := Pool(a.File)
	if err != nil || !pool.Equal(a.Pool) {
		t.Errorf("%v, %v", pool, err)
	}
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, []byte("no certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{empty, filepath.Join(t.TempDir(), "absent")} {
		if _, err := Pool(path); err == nil {
			t.Errorf("%s was taken for authorities", path)
		}
	}
}

func TestLoadPairRefuses(t *testing.T) {
	a := tlstest.New(t)
	cert, key := a.Issue(t, "one")
	other, _ := a.Issue(t, "two")
	for _, files := range [][2]string{{cert, cert}, {other, key}, {"absent", key}, {cert, "absent"}, {a.File, key}} {
		if _, err := LoadPair(files[0], files[1]); err == nil {
			t.Errorf("%v was taken for a pair", files)
		}
	}
}

// name gives the common name in the certificate.
func name(t *testing.T, c *tls.Certificate) string {
	t.Helper()
	if c == nil || c.Leaf == nil {
		t.Fatal("no certificate")
	}
	return c.Leaf.Subject.CommonName
}

// replace renames files over the pair, as orchestrators do.
func replace(t *testing.T, to, from string) {
	t.Helper()
	b, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to+".new", b, 0o600); err != nil {
		t.Fatal(err)
	}
	// A file system's clock may be coarse: a time of its own for each content.
	stamp := time.Unix(int64(len(b)), time.Now().UnixNano()%1e9)
	if err := os.Chtimes(to+".new", stamp, stamp); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(to+".new", to); err != nil {
		t.Fatal(err)
	}
}

// TestPairFollowsItsFiles: at most one look a second; half a change, and a file that
// is gone, leave the last good pair.
func TestPairFollowsItsFiles(t *testing.T) {
	a := tlstest.New(t)
	cert, key := a.Issue(t, "old")
	newCert, newKey := a.Issue(t, "new")
	synctest.Test(t, func(t *testing.T) {
		p, err := LoadPair(cert, key)
		if err != nil {
			t.Fatal(err)
		}
		want := func(when, want string) {
			t.Helper()
			if got := name(t, p.Certificate()); got != want {
				t.Errorf("%s: the certificate of %s, want of %s", when, got, want)
			}
		}
		want("at first", "old")
		replace(t, cert, newCert)
		want("within the second", "old")
		time.Sleep(lookEvery)
		want("while the key is the old one", "old")
		replace(t, key, newKey)
		want("within the next second", "old")
		time.Sleep(lookEvery)
		want("when both are there", "new")
		if err := os.Remove(key); err != nil {
			t.Fatal(err)
		}
		time.Sleep(lookEvery)
		want("without a key", "new")
		if c, err := p.ForClient(nil); err != nil || name(t, c) != "new" {
			t.Errorf("for a client: %v, %v", c, err)
		}
		if c, err := p.ForServer(nil); err != nil || name(t, c) != "new" {
			t.Errorf("for a server: %v, %v", c, err)
		}
	})
}
