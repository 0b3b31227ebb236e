// SPDX-License-Identifier: MIT OR Apache-2.0
package detailflow;

/** detailflow_file_format. */
public enum FileFormat {
    PNG, JPEG, WEBP, BMP, TGA, TIFF, QOI;

    int code() {
        return ordinal() + 1;
    }
}
