"""The structs of the Engine API as docker's Go client declares them (API 1.50), in a short notation.

A struct is its fields in order, `Name type [json name][?]`, where ? is omitempty and + marks an embedded struct.
"""

from __future__ import annotations

TYPES = {
    "struct{}": "",
    "container.InspectResponse": (
        "+*container.ContainerJSONBase; Mounts []container.MountPoint; Config *container.Config;"
        "NetworkSettings *container.NetworkSettings; ImageManifestDescriptor *v1.Descriptor?"
    ),
    "container.ContainerJSONBase": (
        "ID string Id; Created string; Path string; Args []string; State *container.State; Image string;"
        "ResolvConfPath string; HostnamePath string; HostsPath string; LogPath string; Name string; RestartCount int;"
        "Driver string; Platform string; MountLabel string; ProcessLabel string; AppArmorProfile string;"
        "ExecIDs []string; HostConfig *container.HostConfig; GraphDriver storage.DriverData; SizeRw *int64?;"
        "SizeRootFs *int64?"
    ),
    "container.State": (
        "Status string; Running bool; Paused bool; Restarting bool; OOMKilled bool; Dead bool; Pid int; ExitCode int;"
        "Error string; StartedAt string; FinishedAt string; Health *container.Health?"
    ),
    "container.Health": "Status string; FailingStreak int; Log []*container.HealthcheckResult",
    "container.HealthcheckResult": "Start time.Time; End time.Time; ExitCode int; Output string",
    "container.MountPoint": (
        "Type string?; Name string?; Source string; Destination string; Driver string?; Mode string; RW bool;"
        "Propagation string"
    ),
    "container.Config": (
        "Hostname string; Domainname string; User string; AttachStdin bool; AttachStdout bool; AttachStderr bool;"
        "ExposedPorts map[nat.Port]struct{}?; Tty bool; OpenStdin bool; StdinOnce bool; Env []string; Cmd []string;"
        "Healthcheck *v1.HealthcheckConfig?; ArgsEscaped bool?; Image string; Volumes map[string]struct{};"
        "WorkingDir string; Entrypoint []string; NetworkDisabled bool?; MacAddress string?; OnBuild []string;"
        "Labels map[string]string; StopSignal string?; StopTimeout *int?; Shell []string?"
    ),
    "v1.HealthcheckConfig": (
        "Test []string?; Interval time.Duration?; Timeout time.Duration?; StartPeriod time.Duration?;"
        "StartInterval time.Duration?; Retries int?"
    ),
    "container.HostConfig": (
        "Binds []string; ContainerIDFile string; LogConfig container.LogConfig; NetworkMode string;"
        "PortBindings map[nat.Port][]nat.PortBinding; RestartPolicy container.RestartPolicy; AutoRemove bool;"
        "VolumeDriver string; VolumesFrom []string; ConsoleSize []uint; Annotations map[string]string?;"
        "CapAdd []string; CapDrop []string; CgroupnsMode string; DNS []string Dns; DNSOptions []string DnsOptions;"
        "DNSSearch []string DnsSearch; ExtraHosts []string; GroupAdd []string; IpcMode string; Cgroup string;"
        "Links []string; OomScoreAdj int; PidMode string; Privileged bool; PublishAllPorts bool; ReadonlyRootfs bool;"
        "SecurityOpt []string; StorageOpt map[string]string?; Tmpfs map[string]string?; UTSMode string;"
        "UsernsMode string; ShmSize int64; Sysctls map[string]string?; Runtime string?; Isolation string;"
        "+container.Resources; Mounts []mount.Mount?; MaskedPaths []string; ReadonlyPaths []string; Init *bool?"
    ),
    "container.LogConfig": "Type string; Config map[string]string",
    "container.RestartPolicy": "Name string; MaximumRetryCount int",
    "container.Resources": (
        "CPUShares int64 CpuShares; Memory int64; NanoCPUs int64 NanoCpus; CgroupParent string; BlkioWeight uint16;"
        "BlkioWeightDevice []*blkiodev.WeightDevice; BlkioDeviceReadBps []*blkiodev.ThrottleDevice;"
        "BlkioDeviceWriteBps []*blkiodev.ThrottleDevice; BlkioDeviceReadIOps []*blkiodev.ThrottleDevice;"
        "BlkioDeviceWriteIOps []*blkiodev.ThrottleDevice; CPUPeriod int64 CpuPeriod; CPUQuota int64 CpuQuota;"
        "CPURealtimePeriod int64 CpuRealtimePeriod; CPURealtimeRuntime int64 CpuRealtimeRuntime; CpusetCpus string;"
        "CpusetMems string; Devices []container.DeviceMapping; DeviceCgroupRules []string;"
        "DeviceRequests []container.DeviceRequest; KernelMemory int64?; KernelMemoryTCP int64?;"
        "MemoryReservation int64; MemorySwap int64; MemorySwappiness *int64; OomKillDisable *bool; PidsLimit *int64;"
        "Ulimits []*units.Ulimit; CPUCount int64 CpuCount; CPUPercent int64 CpuPercent; IOMaximumIOps uint64;"
        "IOMaximumBandwidth uint64"
    ),
    "blkiodev.WeightDevice": "Path string; Weight uint16",
    "blkiodev.ThrottleDevice": "Path string; Rate uint64",
    "container.DeviceMapping": "PathOnHost string; PathInContainer string; CgroupPermissions string",
    "container.DeviceRequest": (
        "Driver string; Count int; DeviceIDs []string; Capabilities [][]string; Options map[string]string"
    ),
    "units.Ulimit": "Name string; Hard int64; Soft int64",
    "nat.PortBinding": "HostIP string HostIp; HostPort string",
    "mount.Mount": (
        "Type string?; Source string?; Target string?; ReadOnly bool?; Consistency string?;"
        "BindOptions *mount.BindOptions?; VolumeOptions *mount.VolumeOptions?; ImageOptions *mount.ImageOptions?;"
        "TmpfsOptions *mount.TmpfsOptions?; ClusterOptions *struct{}?"
    ),
    "mount.BindOptions": (
        "Propagation string?; NonRecursive bool?; CreateMountpoint bool?; ReadOnlyNonRecursive bool?;"
        "ReadOnlyForceRecursive bool?"
    ),
    "mount.VolumeOptions": "NoCopy bool?; Labels map[string]string?; Subpath string?; DriverConfig *mount.Driver?",
    "mount.ImageOptions": "Subpath string?",
    "mount.Driver": "Name string?; Options map[string]string?",
    "mount.TmpfsOptions": "SizeBytes int64?; Mode uint?; Options [][]string?",
    "container.NetworkSettings": (
        "+container.NetworkSettingsBase; +container.DefaultNetworkSettings;"
        "Networks map[string]*network.EndpointSettings"
    ),
    "container.NetworkSettingsBase": (
        "Bridge string; SandboxID string; SandboxKey string; Ports map[nat.Port][]nat.PortBinding; HairpinMode bool;"
        "LinkLocalIPv6Address string; LinkLocalIPv6PrefixLen int; SecondaryIPAddresses []network.Address;"
        "SecondaryIPv6Addresses []network.Address"
    ),
    "container.DefaultNetworkSettings": (
        "EndpointID string; Gateway string; GlobalIPv6Address string; GlobalIPv6PrefixLen int; IPAddress string;"
        "IPPrefixLen int; IPv6Gateway string; MacAddress string"
    ),
    "network.Address": "Addr string; PrefixLen int",
    "network.EndpointSettings": (
        "IPAMConfig *network.EndpointIPAMConfig; Links []string; Aliases []string; MacAddress string;"
        "DriverOpts map[string]string; GwPriority int; NetworkID string; EndpointID string; Gateway string;"
        "IPAddress string; IPPrefixLen int; IPv6Gateway string; GlobalIPv6Address string; GlobalIPv6PrefixLen int;"
        "DNSNames []string"
    ),
    "network.EndpointIPAMConfig": "IPv4Address string?; IPv6Address string?; LinkLocalIPs []string?",
    "storage.DriverData": "Data map[string]string; Name string",
    "v1.Descriptor": (
        "MediaType string mediaType; Digest string digest; Size int64 size; URLs []string urls?;"
        "Annotations map[string]string annotations?; Data string data?; Platform *v1.Platform platform?;"
        "ArtifactType string artifactType?"
    ),
    "v1.Platform": (
        "Architecture string architecture; OS string os; OSVersion string os.version?;"
        "OSFeatures []string os.features?; Variant string variant?"
    ),
    "image.InspectResponse": (
        "ID string Id; RepoTags []string; RepoDigests []string; Parent string; Comment string; Created string?;"
        "Container string?; ContainerConfig *container.Config?; DockerVersion string; Author string;"
        "Config *v1.DockerOCIImageConfig; Architecture string; Variant string?; Os string; OsVersion string?;"
        "Size int64; VirtualSize int64?; GraphDriver storage.DriverData; RootFS image.RootFS; Metadata image.Metadata;"
        "Descriptor *v1.Descriptor?; Manifests []any?"
    ),
    "image.RootFS": "Type string?; Layers []string?",
    "image.Metadata": "LastTagTime time.Time?",
    "v1.DockerOCIImageConfig": "+v1.ImageConfig; +v1.DockerOCIImageConfigExt",
    "v1.ImageConfig": (
        "User string?; ExposedPorts map[string]struct{}?; Env []string?; Entrypoint []string?; Cmd []string?;"
        "Volumes map[string]struct{}?; WorkingDir string?; Labels map[string]string?; StopSignal string?;"
        "ArgsEscaped bool?"
    ),
    "v1.DockerOCIImageConfigExt": "Healthcheck *v1.HealthcheckConfig?; OnBuild []string?; Shell []string?",
    "network.Inspect": (
        "Name string; ID string Id; Created time.Time; Scope string; Driver string; EnableIPv4 bool; EnableIPv6 bool;"
        "IPAM network.IPAM; Internal bool; Attachable bool; Ingress bool; ConfigFrom network.ConfigReference;"
        "ConfigOnly bool; Containers map[string]network.EndpointResource; Options map[string]string;"
        "Labels map[string]string; Peers []any?; Services map[string]any?"
    ),
    "network.IPAM": "Driver string; Options map[string]string; Config []network.IPAMConfig",
    "network.IPAMConfig": (
        "Subnet string?; IPRange string?; Gateway string?; AuxAddress map[string]string AuxiliaryAddresses?"
    ),
    "network.ConfigReference": "Network string",
    "network.EndpointResource": (
        "Name string; EndpointID string; MacAddress string; IPv4Address string; IPv6Address string"
    ),
    "volume.Volume": (
        "ClusterVolume *struct{}?; CreatedAt string?; Driver string; Labels map[string]string; Mountpoint string;"
        "Name string; Options map[string]string; Scope string; Status map[string]any?; UsageData *volume.UsageData?"
    ),
    "volume.UsageData": "RefCount int64; Size int64",
    "events.Message": (
        "Status string status?; ID string id?; From string from?; Type string; Action string; Actor events.Actor;"
        "Scope string scope?; Time int64 time?; TimeNano int64 timeNano?"
    ),
    "events.Actor": "ID string; Attributes map[string]string",
    "system.versionInfo": "Client system.clientVersion; Server *types.Version",
    "system.clientVersion": (
        "Platform *system.platformInfo?; Version string?; APIVersion string ApiVersion?; DefaultAPIVersion string?;"
        "GitCommit string?; GoVersion string?; Os string?; Arch string?; BuildTime string?; Context string"
    ),
    "system.platformInfo": "Name string?",
    "types.Version": (
        "Platform system.platform?; Components []types.ComponentVersion?; Version string; APIVersion string ApiVersion;"
        "MinAPIVersion string?; GitCommit string; GoVersion string; Os string; Arch string; KernelVersion string?;"
        "Experimental bool?; BuildTime string?"
    ),
    "system.platform": "Name string",
    "types.ComponentVersion": "Name string; Version string; Details map[string]string?",
    "system.dockerInfo": (
        "+*system.Info; ServerErrors []string?; UserName string -; ClientInfo *system.clientInfo?;"
        "ClientErrors []string?"
    ),
    "system.clientInfo": "Debug bool; +system.clientVersion; Plugins []any; Warnings []string",
    "system.sparseInfo": "ClientInfo *system.clientInfo?; ClientErrors []string?",
    "system.Info": (
        "ID string; Containers int; ContainersRunning int; ContainersPaused int; ContainersStopped int; Images int;"
        "Driver string; DriverStatus [][]string; SystemStatus [][]string?; Plugins system.PluginsInfo;"
        "MemoryLimit bool; SwapLimit bool; KernelMemory bool?; KernelMemoryTCP bool?; CPUCfsPeriod bool CpuCfsPeriod;"
        "CPUCfsQuota bool CpuCfsQuota; CPUShares bool; CPUSet bool; PidsLimit bool; IPv4Forwarding bool; Debug bool;"
        "NFd int; OomKillDisable bool; NGoroutines int; SystemTime string; LoggingDriver string; CgroupDriver string;"
        "CgroupVersion string?; NEventsListener int; KernelVersion string; OperatingSystem string; OSVersion string;"
        "OSType string; Architecture string; IndexServerAddress string; RegistryConfig *registry.ServiceConfig;"
        "NCPU int; MemTotal int64; GenericResources []any; DockerRootDir string; HTTPProxy string HttpProxy;"
        "HTTPSProxy string HttpsProxy; NoProxy string; Name string; Labels []string; ExperimentalBuild bool;"
        "ServerVersion string; Runtimes map[string]system.RuntimeWithStatus; DefaultRuntime string;"
        "Swarm swarm.Info; LiveRestoreEnabled bool; Isolation string; InitBinary string;"
        "ContainerdCommit system.Commit; RuncCommit system.Commit; InitCommit system.Commit; SecurityOptions []string;"
        "ProductLicense string?; DefaultAddressPools []system.NetworkAddressPool?;"
        "FirewallBackend *system.FirewallInfo?; CDISpecDirs []string; DiscoveredDevices []system.DeviceInfo?;"
        "Containerd *system.ContainerdInfo?; Warnings []string"
    ),
    "system.PluginsInfo": "Volume []string; Network []string; Authorization []string; Log []string",
    "system.RuntimeWithStatus": "+system.Runtime; Status map[string]string status?",
    "system.Runtime": (
        "Path string path?; Args []string runtimeArgs?; Type string runtimeType?; Options map[string]any options?"
    ),
    "system.Commit": "ID string; Expected string?",
    "system.NetworkAddressPool": "Base string; Size int",
    "system.FirewallInfo": "Driver string; Info [][]string?",
    "system.DeviceInfo": "Source string; ID string",
    "system.ContainerdInfo": "Address string?; Namespaces system.ContainerdNamespaces",
    "system.ContainerdNamespaces": "Containers string; Plugins string",
    "registry.ServiceConfig": (
        "AllowNondistributableArtifactsCIDRs []string?; AllowNondistributableArtifactsHostnames []string?;"
        "InsecureRegistryCIDRs []string; IndexConfigs map[string]*registry.IndexInfo; Mirrors []string"
    ),
    "registry.IndexInfo": "Name string; Mirrors []string; Secure bool; Official bool",
    "swarm.Info": (
        "NodeID string; NodeAddr string; LocalNodeState string; ControlAvailable bool; Error string;"
        "RemoteManagers []any; Nodes int?; Managers int?; Cluster *struct{}?; Warnings []string?"
    ),
}
