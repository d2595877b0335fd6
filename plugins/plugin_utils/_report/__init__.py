# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One report model drawn as HTML with SVG, Markdown or JSON; on the controller only.

Note that this plugin util is PRIVATE to the collection: it can change at any time.
"""
