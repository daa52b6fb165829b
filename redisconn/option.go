package redisconn

import (
	"crypto/tls"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/redis/rueidis"

	"github.com/pillion-proxy/pillion/internal/tlsfiles"
)

// clientOption turns the configuration into rueidis options. What is set here is
// what makes a dead or half-open link known soon: rueidis pings an idle connection
// every KeepAlive and closes it ConnWriteTimeout later, and never retries by itself.
func clientOption(cfg Config) (rueidis.ClientOption, error) {
	opt, err := addressOption(cfg)
	if err != nil {
		return opt, err
	}
	if opt.Username == "" && opt.Password == "" {
		opt.Username, opt.Password = cfg.Username, cfg.Password
	}
	if err := applyTLS(&opt, cfg.TLS); err != nil {
		return opt, err
	}
	opt.ClientName = "pillion"
	opt.Dialer.Timeout = 500 * time.Millisecond
	opt.Dialer.KeepAlive = 500 * time.Millisecond
	opt.ConnWriteTimeout = time.Second
	opt.DisableRetry = true
	// One connection for each node: replies and invalidations then have one
	// order, and one PING vouches for all of memory.
	opt.PipelineMultiplex = -1
	opt.AlwaysPipelining = true
	opt.BlockingPoolSize = 1024
	opt.BlockingPoolCleanup = time.Minute
	opt.ReadBufferEachConn = 64 << 10
	opt.WriteBufferEachConn = 64 << 10
	return opt, nil
}

func addressOption(cfg Config) (rueidis.ClientOption, error) {
	var opt rueidis.ClientOption
	switch {
	case cfg.Sentinel.Master != "":
		opt.InitAddress = cfg.Sentinel.Addresses
		opt.Sentinel = rueidis.SentinelOption{
			MasterSet: cfg.Sentinel.Master,
			Username:  cfg.Sentinel.Username,
			Password:  cfg.Sentinel.Password,
			// A missed +switch-master would pin the old master.
			TopologyRefreshInterval: 5 * time.Second,
		}
		opt.Sentinel.Dialer.Timeout = 500 * time.Millisecond
	case len(cfg.Cluster) > 0:
		opt.InitAddress = cfg.Cluster
		// After a failover, commands go to the node that has failed until the next refresh:
		// a command that times out there, as the host is gone, does not bring one about.
		opt.ClusterOption.ShardsRefreshInterval = 2 * time.Second
		opt.ClusterOption.MaxMovedRedirections = 8
	default:
		parsed, err := rueidis.ParseURL(cfg.URL)
		if err != nil {
			return opt, fmt.Errorf("redis.url: %w: write redis://, rediss:// or unix://", stripURL(err, cfg.URL))
		}
		opt = parsed
		opt.ForceSingleClient = opt.Sentinel.MasterSet == ""
	}
	return opt, nil
}

// stripURL keeps a password that stands in the URL out of an error's text.
func stripURL(err error, raw string) error {
	return fmt.Errorf("%s", strings.ReplaceAll(err.Error(), raw, "the value"))
}

func applyTLS(opt *rueidis.ClientOption, cfg TLS) error {
	if cfg == (TLS{}) {
		if opt.Sentinel.MasterSet != "" && opt.TLSConfig != nil {
			opt.Sentinel.TLSConfig = opt.TLSConfig // rueidis leaves it unset
		}
		return nil
	}
	t := opt.TLSConfig
	if t == nil {
		t = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	if cfg.ServerName != "" {
		t.ServerName = cfg.ServerName
	}
	var err error
	if cfg.CA != "" {
		if t.RootCAs, err = tlsfiles.Pool(cfg.CA); err != nil {
			return fmt.Errorf("redis.tls.ca: %w", err)
		}
	}
	if cfg.Cert != "" || cfg.Key != "" {
		pair, err := tlsfiles.LoadPair(cfg.Cert, cfg.Key)
		if err != nil {
			return fmt.Errorf("redis.tls.cert and redis.tls.key: %w", err)
		}
		t.GetClientCertificate = pair.ForClient
	}
	opt.TLSConfig = t
	if opt.Sentinel.MasterSet != "" {
		opt.Sentinel.TLSConfig = t
	}
	return nil
}

// Describe names the Redis without its secrets, for logs.
func (c *Conn) Describe() string {
	switch {
	case c.cfg.Sentinel.Master != "":
		return "sentinel " + c.cfg.Sentinel.Master + " at " + strings.Join(c.cfg.Sentinel.Addresses, ",")
	case len(c.cfg.Cluster) > 0:
		return "cluster at " + strings.Join(c.cfg.Cluster, ",")
	}
	u, err := url.Parse(c.cfg.URL)
	if err != nil {
		return "redis"
	}
	return u.Redacted()
}
