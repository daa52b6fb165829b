package web

import (
	"bufio"
	"context"
	"fmt"
	"io/fs"
	"net"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/pillion-proxy/pillion/bench/origin"
	"github.com/pillion-proxy/pillion/bench/proc"
)

// memory fills the cache and looks at what the server's processes, and its files in
// memory, have grown by: beyond the bodies, and beyond all that is the objects' own.
func memory(ctx context.Context, b *Bench, s Scenario, srv server) (m measured, err error) {
	st, err := b.stage(ctx, s, srv)
	if err != nil {
		return m, err
	}
	defer func() { err = join(err, st.stop()) }()
	// A few requests first: what any work needs is not what objects need.
	few := s
	few.keys = 64
	p := few.plan(b)
	p.Warm, p.For = 0, b.For
	if _, err := st.drive(ctx, p); err != nil {
		return m, err
	}
	before, err := st.held(ctx)
	if err != nil {
		return m, err
	}
	p = s.plan(b)
	p.Warm, p.For = 0, time.Millisecond
	u, err := st.drive(ctx, p)
	if err != nil {
		return m, err
	}
	after, err := st.held(ctx)
	if err != nil {
		return m, err
	}
	m.foreign = u.foreign
	return m, m.perObject(st.app, s, few.keys, after-before)
}

// perObject adds what each of the objects from the given one on takes.
func (m *measured) perObject(app string, s Scenario, from int, grown int64) error {
	own, err := s.own(app, from)
	if err != nil {
		return err
	}
	each := float64(grown) / float64(s.keys-from)
	m.add("memory beyond the object's own bytes", "bytes/object", each-own)
	m.add("memory beyond the body", "bytes/object", each-float64(s.size))
	return nil
}

// own is how many bytes an object from the given one on has itself, on average: its body,
// the header fields as the application sends them, and its URL without the scheme. It
// depends on the application alone, so that it is the same for every server.
func (s Scenario) own(app string, from int) (float64, error) {
	fields, err := sentFields(app, s.request(from, "").Raw)
	if err != nil {
		return 0, err
	}
	urls := 0
	for id := from; id < s.keys; id++ {
		urls += len(host) + len(origin.Path(s.kind, s.size, id))
	}
	return float64(s.size+fields) + float64(urls)/float64(s.keys-from), nil
}

// sentFields is the length of the header fields of an answer, with their line ends.
func sentFields(addr string, request []byte) (sum int, err error) {
	const patience = 5 * time.Second
	c, err := net.DialTimeout("tcp", addr, patience)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	if _, err := c.Write(request); err != nil {
		return 0, err
	}
	in := bufio.NewReader(c)
	status, err := in.ReadString('\n')
	if err == nil && !strings.HasPrefix(status, "HTTP/1.1 200") {
		err = fmt.Errorf("the application answers %q", status)
	}
	for err == nil {
		var line string
		if line, err = in.ReadString('\n'); line == "\r\n" {
			return sum, nil
		}
		sum += len(line)
	}
	return 0, err
}

// held is the memory of the server's processes and of its files.
func (st *stage) held(ctx context.Context) (int64, error) {
	if err := wait(ctx, settle); err != nil {
		return 0, err
	}
	return proc.Memory(st.server.PID(), "Pss") + blocks(filepath.Join(st.dir, "cache")), nil
}

// blocks is the size of a folder's files in whole blocks, which is what they take.
func blocks(dir string) (sum int64) {
	_ = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil // it is gone, or there is no such folder
		}
		if info, err := d.Info(); err == nil {
			if sys, ok := info.Sys().(*syscall.Stat_t); ok {
				sum += sys.Blocks * 512
			}
		}
		return nil
	})
	return sum
}
