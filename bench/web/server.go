package web

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/pillion-proxy/pillion/bench/peers"
	"github.com/pillion-proxy/pillion/bench/proc"
)

// server is what is measured.
type server interface {
	name() string
	// available gives the version, or an error that says what is missing.
	available(ctx context.Context) (version string, err error)
	// prepare writes the configuration and says how to start the server, and where it
	// will listen.
	prepare(s place) (spec proc.Spec, addr string, err error)
}

// place is where and how a server is to run.
type place struct {
	dir      string // removed after the round
	origin   string // host:port
	redis    string // host:port; empty when the scenario needs none
	cores    []int
	services []string
	env      []string // of pillion
	keys     int      // objects of the scenario
	size     int      // of each
	lean     bool     // the application is origin.Lean
}

func (p place) settings() peers.Settings {
	s := peers.Settings{
		Dir: p.dir, Origin: p.origin, Workers: len(p.cores), Services: p.services, Memory: "1GiB",
		Files: openFiles(), User: "nobody",
	}
	s.OpenFileCache = s.Files / 3
	s.Connections = maxConnections(s.Files)
	s.OriginHost, s.OriginPort, _ = net.SplitHostPort(p.origin)
	s.RedisHost, s.RedisPort, _ = net.SplitHostPort(p.redis)
	if u, err := user.Current(); err == nil {
		s.User = u.Username
	}
	return s
}

// maxConnections is how many HAProxy can be told to take: it wants to be sure of two
// open files for each, and of a quarter as many for connections to the application.
func maxConnections(files int) int { return min(20000, (files-500)*2/5) }

func openFiles() int {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return 1024
	}
	return int(min(limit.Max, 1<<20))
}

// raiseOpenFiles lets this process and its children have open files enough for the
// largest scenario, where we may.
func raiseOpenFiles() {
	const enough = 65536
	if openFiles() < enough {
		_ = unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: enough, Max: enough})
	}
}

// find looks for a program on PATH, and where systems keep servers.
func find(name, pkg string) (string, error) {
	if path, err := exec.LookPath(name); err == nil {
		return path, nil
	}
	for _, dir := range []string{"/usr/sbin", "/usr/local/sbin"} {
		if path := filepath.Join(dir, name); exec.Command(path, "-v").Run() == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("%s is not installed: install the package %s, or run make bench-deps", name, pkg)
}

// versionOf runs a program that prints its version.
func versionOf(ctx context.Context, path, arg, pattern string) (string, error) {
	out, err := exec.CommandContext(ctx, path, arg).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w", path, arg, err)
	}
	m := regexp.MustCompile(pattern).FindSubmatch(out)
	if m == nil {
		return "", fmt.Errorf("%s %s printed no version: %q", path, arg, out)
	}
	return string(m[1]), nil
}

// configure renders a configuration for a free address.
func configure(p place, template, file string, change func(*peers.Settings)) (path, addr string, err error) {
	if addr, err = proc.FreeAddr(); err != nil {
		return "", "", err
	}
	s := p.settings()
	s.Addr = addr
	s.Host, s.Port, _ = net.SplitHostPort(addr)
	if change != nil {
		change(&s)
	}
	text, err := peers.Render(template, s)
	if err != nil {
		return "", "", err
	}
	path = filepath.Join(p.dir, file)
	return path, addr, os.WriteFile(path, []byte(text), 0o644)
}

// pillion is what the suite is for.
type pillion struct{ b *Bench }

func (s *pillion) name() string { return "pillion" }

func (s *pillion) available(ctx context.Context) (string, error) {
	return proc.PillionVersion(ctx, s.b.Pillion)
}

func (s *pillion) prepare(p place) (proc.Spec, string, error) {
	text, err := peers.Render("pillion.yaml.tmpl", p.settings())
	if err != nil {
		return proc.Spec{}, "", err
	}
	spec, addr, _, err := proc.PillionSpec{
		Path: s.b.Pillion, Dir: p.dir, Config: text, Redis: p.redis, Upstream: "http://" + p.origin, Cores: p.cores, Env: p.env,
	}.Prepare()
	return spec, addr, err
}

// bare is a fasthttp server that answers the same bytes, and does nothing else.
type bare struct{ b *Bench }

func (s *bare) name() string { return "fasthttp" }

func (s *bare) available(context.Context) (string, error) {
	return dependency("github.com/valyala/fasthttp"), nil
}

func (s *bare) prepare(p place) (proc.Spec, string, error) {
	addr, err := proc.FreeAddr()
	return s.b.originSpec(addr, p, p.cores), addr, err
}

// floor is a server with nothing but what the kernel does.
type floor struct{ b *Bench }

func (s *floor) name() string { return "epoll" }

func (s *floor) available(context.Context) (string, error) { return "-", nil }

func (s *floor) prepare(p place) (proc.Spec, string, error) {
	addr, err := proc.FreeAddr()
	p.lean = true
	return s.b.originSpec(addr, p, p.cores), addr, err
}

func (b *Bench) originSpec(addr string, p place, cores []int) proc.Spec {
	return proc.Spec{Name: "the application", Path: b.Self, Cores: cores, Args: []string{
		"origin", "--addr", addr, "--keys", strconv.Itoa(p.keys), "--size", strconv.Itoa(p.size), "--lean=" + strconv.FormatBool(p.lean),
	}}
}

// nginx serves from its proxy cache. With lua it checks sessions in Redis.
type nginx struct{ lua bool }

func (s *nginx) name() string {
	if s.lua {
		return "nginx-lua-redis"
	}
	return "nginx"
}

func (s *nginx) available(ctx context.Context) (string, error) {
	path, err := find("nginx", "nginx")
	if err != nil {
		return "", err
	}
	if s.lua {
		if err := luaThere(); err != nil {
			return "", err
		}
	}
	return versionOf(ctx, path, "-v", `nginx/(\S+)`)
}

// luaModules are those of the system's packages.
func luaModules() []string {
	const dir = "/usr/lib/nginx/modules/"
	return []string{dir + "ndk_http_module.so", dir + "ngx_http_lua_module.so"}
}

func luaThere() error {
	for _, path := range append(luaModules(), "/usr/share/lua/5.1/nginx/redis.lua") {
		if _, err := os.Stat(path); err != nil {
			return fmt.Errorf("%s is missing: install libnginx-mod-http-lua, lua-nginx-redis and lua-cjson, or run make bench-deps", path)
		}
	}
	return nil
}

func (s *nginx) prepare(p place) (proc.Spec, string, error) {
	path, err := find("nginx", "nginx")
	if err != nil {
		return proc.Spec{}, "", err
	}
	config, addr, err := configure(p, "nginx.conf.tmpl", "nginx.conf", func(c *peers.Settings) {
		c.Lua = s.lua
		if s.lua {
			c.Modules = luaModules()
		}
	})
	return proc.Spec{Name: s.name(), Path: path, Dir: p.dir, Cores: p.cores, Args: []string{"-p", p.dir, "-e", "stderr", "-c", config}}, addr, err
}

// haproxy serves from its own small cache.
type haproxy struct{}

func (s *haproxy) name() string { return "haproxy" }

func (s *haproxy) available(ctx context.Context) (string, error) {
	path, err := find("haproxy", "haproxy")
	if err != nil {
		return "", err
	}
	return versionOf(ctx, path, "-v", `version (\S+)`)
}

func (s *haproxy) prepare(p place) (proc.Spec, string, error) {
	path, err := find("haproxy", "haproxy")
	if err != nil {
		return proc.Spec{}, "", err
	}
	if len(p.services) > 0 { // a line takes 64 words
		list := "/" + strings.Join(p.services, "/\n/") + "/\n"
		if err := os.WriteFile(filepath.Join(p.dir, "services.lst"), []byte(list), 0o644); err != nil {
			return proc.Spec{}, "", err
		}
	}
	config, addr, err := configure(p, "haproxy.cfg.tmpl", "haproxy.cfg", nil)
	return proc.Spec{Name: s.name(), Path: path, Dir: p.dir, Cores: p.cores, Args: []string{"-db", "-f", config}}, addr, err
}

// varnish keeps answers in its memory.
type varnish struct{}

func (s *varnish) name() string { return "varnish" }

func (s *varnish) available(ctx context.Context) (string, error) {
	path, err := find("varnishd", "varnish")
	if err != nil {
		return "", err
	}
	return versionOf(ctx, path, "-V", `varnish-(\S+)`)
}

func (s *varnish) prepare(p place) (proc.Spec, string, error) {
	path, err := find("varnishd", "varnish")
	if err != nil {
		return proc.Spec{}, "", err
	}
	config, addr, err := configure(p, "varnish.vcl.tmpl", "bench.vcl", nil)
	if err == nil && os.Geteuid() == 0 {
		// The compiler of VCL and the worker run as another user.
		err = os.Chmod(p.dir, 0o755)
	}
	return proc.Spec{Name: s.name(), Path: path, Dir: p.dir, Cores: p.cores, Args: []string{
		"-F", "-a", addr, "-f", config, "-n", filepath.Join(p.dir, "varnish"), "-s", "malloc,4G", "-i", "bench",
		"-p", "thread_pools=1", "-p", "thread_pool_min=200", "-p", "thread_pool_max=5000",
		"-p", "timeout_idle=600", "-p", "default_grace=3600", "-p", "http_gzip_support=off",
	}}, addr, err
}

// caddy passes requests on. It is built from a module of its own by bench/install-deps.
type caddy struct{}

func (s *caddy) name() string { return "caddy" }

func (s *caddy) path() (string, error) {
	if dir, err := os.UserCacheDir(); err == nil {
		if path := filepath.Join(dir, "pillion-bench", "caddy"); fileThere(path) {
			return path, nil
		}
	}
	return "", errors.New("caddy is not built: run make bench-deps")
}

func fileThere(path string) bool { _, err := os.Stat(path); return err == nil }

func (s *caddy) available(ctx context.Context) (string, error) {
	path, err := s.path()
	if err != nil {
		return "", err
	}
	return versionOf(ctx, path, "version", `v(\S+)`)
}

func (s *caddy) prepare(p place) (proc.Spec, string, error) {
	path, err := s.path()
	if err != nil {
		return proc.Spec{}, "", err
	}
	config, addr, err := configure(p, "caddy.tmpl", "Caddyfile", nil)
	return proc.Spec{Name: s.name(), Path: path, Dir: p.dir, Cores: p.cores, Args: []string{"run", "--config", config, "--adapter", "caddyfile"}}, addr, err
}

// workDir makes a folder in memory where there is a tmpfs, else beside the others.
func (b *Bench) workDir() (dir string, remove func(), err error) {
	const tmpfs = "/dev/shm"
	if dir, err = os.MkdirTemp(tmpfs, "pillion-bench-"); err == nil {
		return dir, func() { _ = os.RemoveAll(dir) }, nil
	}
	if !errors.Is(err, os.ErrNotExist) && !errors.Is(err, os.ErrPermission) {
		return "", nil, err
	}
	return b.Dir()
}
