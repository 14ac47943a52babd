import jakarta.servlet.http.HttpServlet;
import jakarta.servlet.http.HttpServletRequest;
import jakarta.servlet.http.HttpServletResponse;
import java.io.IOException;
import org.apache.catalina.Context;
import org.apache.catalina.startup.Tomcat;

/** Tomcat with a servlet for /public and one for /admin, as lenient as it can be set. */
public class Servlets {
    static class Text extends HttpServlet {
        private final String text;

        Text(String text) {
            this.text = text;
        }

        @Override
        protected void service(HttpServletRequest request, HttpServletResponse response) throws IOException {
            response.getWriter().print(text);
        }
    }

    public static void main(String[] arguments) throws Exception {
        System.setProperty("org.apache.catalina.startup.EXIT_ON_INIT_FAILURE", "true");
        Tomcat tomcat = new Tomcat();
        tomcat.setBaseDir(arguments[1]);
        tomcat.setPort(Integer.parseInt(arguments[0]));
        var connector = tomcat.getConnector();
        connector.setProperty("address", "127.0.0.1");
        connector.setProperty("allowBackslash", "true");
        connector.setProperty("relaxedPathChars", "\\|{}[]^`\"<>");
        connector.setEncodedSolidusHandling("decode");
        try {
            // Not in every version.
            connector.getClass().getMethod("setEncodedReverseSolidusHandling", String.class).invoke(connector, "decode");
        } catch (ReflectiveOperationException absent) {
            // Then they are refused.
        }
        Context context = tomcat.addContext("", arguments[1]);
        String[][] all = {{"public", "/public/*", arguments[2]}, {"admin", "/admin/*", arguments[3]}};
        for (String[] one : all) {
            Tomcat.addServlet(context, one[0], new Text(one[2]));
            context.addServletMappingDecoded(one[1], one[0]);
        }
        tomcat.start();
        tomcat.getServer().await();
    }
}
