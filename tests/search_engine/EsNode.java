import java.nio.file.*;
import java.util.*;
import java.util.concurrent.*;
import org.elasticsearch.common.logging.LogConfigurator;
import org.elasticsearch.common.settings.Settings;
import org.elasticsearch.env.Environment;
import org.elasticsearch.node.InternalSettingsPreparer;
import org.elasticsearch.node.Node;
import org.elasticsearch.plugins.PluginsLoader;

/** One Elasticsearch node from the published jars: EsNode PORT HOME MODULES. Ends with the process. */
public class EsNode {
    public static void main(String[] arguments) throws Exception {
        Path home = Paths.get(arguments[1]).toAbsolutePath();
        for (String name : new String[] {"config", "data", "logs", "plugins", "lib"}) {
            Files.createDirectories(home.resolve(name));
        }
        LogConfigurator.configureESLogging();
        Settings settings = Settings.builder()
            .put("path.home", home.toString())
            .put("path.data", home.resolve("data").toString())
            .put("path.logs", home.resolve("logs").toString())
            .put("node.name", "n1")
            .put("cluster.name", "test")
            .put("network.host", "127.0.0.1")
            .put("http.port", arguments[0])
            .put("transport.port", "0")
            .put("discovery.type", "single-node")
            .put("node.processors", 2)
            .put("cluster.routing.allocation.disk.threshold_enabled", false)
            .build();
        Environment environment =
            InternalSettingsPreparer.prepareEnvironment(settings, Map.of(), home.resolve("config"), () -> "n1");
        LogConfigurator.configureWithoutConfig(settings);
        Path modules = Paths.get(arguments[2]).toAbsolutePath();
        PluginsLoader loader =
            PluginsLoader.createPluginsLoader(PluginsLoader.loadModulesBundles(modules), Set.of(), Map.of(), false);
        Node node = new Node(environment, loader);
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            try {
                node.close();
                node.awaitClose(10, TimeUnit.SECONDS);
            } catch (Exception error) {
                error.printStackTrace();
            }
        }));
        node.start();
        System.out.println("READY");
        new CountDownLatch(1).await();
    }
}
