// SPDX-License-Identifier: MIT OR Apache-2.0
package detailflow;

import com.sun.jna.Native;
import com.sun.jna.NativeLibrary;
import java.io.File;
import java.net.URISyntaxException;
import java.security.CodeSource;

/**
 * Where libdetailflow is: the file that the environment variable DETAILFLOW_LIBRARY names, else beside the jar or folder of
 * this class, else where JNA looks: jna.library.path, the system's folders, and the class path, by platform.
 */
public final class Library {
    /** DETAILFLOW_ABI_VERSION of the header that this binding was written for. */
    private static final int ABI_VERSION = 1;

    private static boolean loaded;

    private Library() {}

    /** The version of the library, such as "0.1.0". */
    public static String version() {
        load();
        return Text.read(C.detailflow_version());
    }

    /**
     * Loads the library and checks its version. Other calls do so themselves; this one tells early whether it is there.
     *
     * @throws UnsatisfiedLinkError when it is not found; the message lists the places
     */
    public static synchronized void load() {
        if (loaded) {
            return;
        }
        NativeLibrary library = find();
        int version = library.getFunction("detailflow_abi_version").invokeInt(new Object[0]);
        if (Integer.compareUnsigned(version, ABI_VERSION) < 0) {
            String name = library.getFunction("detailflow_version").invokeString(new Object[0], false);
            throw new UnsatisfiedLinkError("libdetailflow " + name + " has ABI version " + version + "; this binding needs " + ABI_VERSION + " or a later one");
        }
        Native.register(C.class, library);
        loaded = true;
    }

    private static NativeLibrary find() {
        String named = System.getenv("DETAILFLOW_LIBRARY");
        String file = System.mapLibraryName("detailflow");
        if (named != null && !named.isEmpty()) {
            if (!new File(named).isFile()) {
                throw new UnsatisfiedLinkError(
                    "DETAILFLOW_LIBRARY names " + named + ", which does not exist: set it to the path of " + file);
            }
            return open(new File(named).getAbsolutePath(), "DETAILFLOW_LIBRARY names " + named + ", which cannot be loaded");
        }
        File beside = new File(folder(), file);
        if (beside.isFile()) {
            return open(beside.getAbsolutePath(), beside + " cannot be loaded");
        }
        return open("detailflow", file + " was not found beside " + folder() + " or where JNA looks");
    }

    private static NativeLibrary open(String name, String otherwise) {
        try {
            return NativeLibrary.getInstance(name);
        } catch (UnsatisfiedLinkError error) {
            String detail = error.getMessage().lines().findFirst().orElse("");
            UnsatisfiedLinkError clear = new UnsatisfiedLinkError(
                otherwise + ": set DETAILFLOW_LIBRARY to its path (" + detail + ")");
            clear.initCause(error);
            throw clear;
        }
    }

    /** The folder of the jar, or of the classes. */
    private static File folder() {
        try {
            CodeSource source = Library.class.getProtectionDomain().getCodeSource();
            File place = source == null ? new File(".") : new File(source.getLocation().toURI());
            return place.isDirectory() ? place : place.getAbsoluteFile().getParentFile();
        } catch (URISyntaxException | IllegalArgumentException error) {
            return new File(".");
        }
    }
}
