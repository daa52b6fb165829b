package redisconn

import "time"

// Config says how to reach Redis. Exactly one of URL, Cluster and Sentinel is used:
// Sentinel when its master is set, else Cluster when it has an address, else URL.
type Config struct {
	// URL is redis://, rediss:// (TLS) or unix://, with user, password and
	// database: redis://user:password@host:6379/0.
	URL string `yaml:"url" env:"URL" secret:"url"`
	// Cluster lists the addresses of some nodes of a Redis Cluster.
	Cluster []string `yaml:"cluster" env:"CLUSTER"`
	// Sentinel names a master that sentinels watch.
	Sentinel Sentinel `yaml:"sentinel" envPrefix:"SENTINEL_"`
	// Username and Password authenticate to a Cluster or to a Sentinel's master;
	// a URL carries its own.
	Username string `yaml:"username" env:"USERNAME"`
	Password string `yaml:"password" env:"PASSWORD" secret:"true"`
	// TLS settings are used for rediss:// and, when any is set, for Cluster and Sentinel.
	TLS TLS `yaml:"tls" envPrefix:"TLS_"`
	// Prefix starts the name of every key that pillion itself writes.
	Prefix string `yaml:"prefix" env:"PREFIX"`
	// Timeout bounds one Redis command, connection set-up included.
	Timeout time.Duration `yaml:"timeout" env:"TIMEOUT"`
	// MaxStaleness is how long memory is trusted without a sign of life on the
	// tracking connection.
	MaxStaleness time.Duration `yaml:"max_staleness" env:"MAX_STALENESS"`
}

// Sentinel names a master and the sentinels that watch it.
type Sentinel struct {
	Master    string   `yaml:"master" env:"MASTER"`
	Addresses []string `yaml:"addresses" env:"ADDRESSES"`
	Username  string   `yaml:"username" env:"USERNAME"`
	Password  string   `yaml:"password" env:"PASSWORD" secret:"true"`
}

// TLS holds the files of a TLS client, PEM-encoded.
type TLS struct {
	CA         string `yaml:"ca" env:"CA"`
	Cert       string `yaml:"cert" env:"CERT"`
	Key        string `yaml:"key" env:"KEY"`
	ServerName string `yaml:"server_name" env:"SERVER_NAME"`
}

// Default gives the settings that apply where the user sets none.
func Default() Config {
	return Config{
		URL:          "redis://127.0.0.1:6379/0",
		Prefix:       "pillion:",
		Timeout:      100 * time.Millisecond,
		MaxStaleness: time.Second,
	}
}
