// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.27;

import {BN254} from "./BN254.sol";
import {History} from "./History.sol";
import {Membership} from "./Membership.sol";

/// @title Operators of one AVS over BN254: BLS keys, stakes per quorum, and the check of their aggregated signatures
/// @notice Keys and signatures are EigenLayer's: signatures and operator ids in G1, verification keys in G2. See
/// `Membership` for who is an operator.
contract OperatorRegistry is Membership {
    using History for History.Checkpoint[];

    /// @notice A registered operator and its stakes, in the order of the quorums asked for.
    struct Operator {
        address operator;
        bytes32 id;
        BN254.G1Point pubkeyG1;
        BN254.G2Point pubkeyG2;
        uint96[] stakes;
    }

    /// @notice An aggregated signature: who did not sign, the signers' aggregate key in G2, and the sum of signatures. A
    /// signer of several of the quorums is counted, in both sums, once for each quorum it has stake in.
    struct SignatureParams {
        BN254.G1Point[] nonSignerPubkeys;
        BN254.G2Point apkG2;
        BN254.G1Point sigma;
    }

    struct Key {
        BN254.G1Point g1;
        BN254.G2Point g2;
    }

    /// @notice `operator` registered the key whose id is `id`.
    event OperatorRegistered(
        address indexed operator, bytes32 indexed id, BN254.G1Point pubkeyG1, BN254.G2Point pubkeyG2
    );

    /// @notice A point is not on the curve, or its coordinates are not below the field's modulus.
    error NotOnCurve();

    mapping(bytes32 id => Key) private _keys;
    mapping(uint8 quorum => mapping(uint96 version => BN254.G1Point)) private _apks;

    /// @notice Registers the caller's BLS key. It has no stake until the owner sets one.
    /// @param signature proof of possession: the signature by this key of `pubkeyRegistrationDigest(caller)`
    /// @param pubkeyG1 the key in G1
    /// @param pubkeyG2 the same key in G2
    function register(
        BN254.G1Point calldata signature,
        BN254.G1Point calldata pubkeyG1,
        BN254.G2Point calldata pubkeyG2
    ) external {
        bytes32 id = _id(pubkeyG1);
        _checkNewcomer(msg.sender, id);
        if (BN254.isZero(pubkeyG1)) revert ZeroPubkey();
        if (!BN254.isOnCurve(pubkeyG1) || !BN254.isOnCurve(signature)) revert NotOnCurve();

        BN254.G1Point memory message = BN254.hashToG1(pubkeyRegistrationDigest(msg.sender));
        uint256 gamma = uint256(keccak256(abi.encode(signature, pubkeyG1, pubkeyG2, message))) % BN254.R;
        if (!BN254.verify(message, signature, pubkeyG1, pubkeyG2, gamma)) revert InvalidProofOfPossession();

        _keys[id] = Key(pubkeyG1, pubkeyG2);
        _enter(msg.sender, id);
        emit OperatorRegistered(msg.sender, id, pubkeyG1, pubkeyG2);
    }

    /// @notice The key with this id and who registered it, also after the operator left.
    /// @param id keccak256 of the key's G1 coordinates, each as 32 bytes, big-endian
    function pubkey(bytes32 id)
        external
        view
        returns (address operator, BN254.G1Point memory pubkeyG1, BN254.G2Point memory pubkeyG2)
    {
        Key storage key = _keys[id];
        return (_holder[id], key.g1, key.g2);
    }

    /// @notice The sum of the keys in `quorum` at the end of `blockNumber`.
    function apkAt(uint8 quorum, uint32 blockNumber) external view returns (BN254.G1Point memory) {
        return _apkAt(quorum, blockNumber);
    }

    /// @notice The operators that have stake in any of `quorums` now, ascending by id. For callers off chain, which call it
    /// at the block they want to know.
    /// @param quorums quorum numbers, in any order
    /// @return operators with one stake per quorum asked for
    /// @return totalStakes all stake in each quorum
    /// @return apks the sum of the keys in each quorum
    function operatorState(uint8[] calldata quorums)
        external
        view
        returns (Operator[] memory operators, uint96[] memory totalStakes, BN254.G1Point[] memory apks)
    {
        totalStakes = _latestTotalStakes(quorums);
        apks = new BN254.G1Point[](quorums.length);
        for (uint256 i = 0; i < quorums.length; i++) {
            apks[i] = _latestApk(quorums[i]);
        }
        bytes32[] memory ids = _sortedIds(quorums);
        operators = new Operator[](ids.length);
        for (uint256 i = 0; i < ids.length; i++) {
            Key storage key = _keys[ids[i]];
            operators[i] = Operator(_holder[ids[i]], ids[i], key.g1, key.g2, _latestStakes(ids[i], quorums));
        }
    }

    /// @notice Checks an aggregated signature against the operators of a past block; reverts unless it is valid. Whether
    /// the signed stake is enough is for the caller to say.
    /// @param digest what was signed; hashed to the curve here
    /// @param quorumNumbers one byte per quorum, strictly ascending
    /// @param referenceBlockNumber the block at whose end stakes and keys count; before the current one
    /// @param params the signature; non-signers strictly ascending by id
    /// @return signedStakes the signers' stake in each quorum
    /// @return totalStakes all stake in each quorum
    function checkSignatures(
        bytes32 digest,
        bytes calldata quorumNumbers,
        uint32 referenceBlockNumber,
        SignatureParams calldata params
    ) external view returns (uint96[] memory signedStakes, uint96[] memory totalStakes) {
        (signedStakes, totalStakes) = _stakesAt(quorumNumbers, referenceBlockNumber);
        if (!BN254.isOnCurve(params.sigma)) revert NotOnCurve();

        BN254.G1Point memory apk =
            _signersKey(quorumNumbers, referenceBlockNumber, params.nonSignerPubkeys, signedStakes);
        // Proofs of possession keep a sum of keys from being infinity otherwise. Without this, the empty signature of
        // nobody would pass the pairing.
        if (BN254.isZero(apk)) revert NoSigners();

        uint256 gamma = uint256(keccak256(abi.encode(digest, apk, params.apkG2, params.sigma))) % BN254.R;
        if (!BN254.verify(BN254.hashToG1(digest), params.sigma, apk, params.apkG2, gamma)) revert InvalidSignature();
    }

    function _changeApk(bytes32 id, uint8 quorum, bool joins) internal override {
        BN254.G1Point memory key = _keys[id].g1;
        BN254.G1Point memory apk = BN254.plus(_latestApk(quorum), joins ? key : BN254.negate(key));
        _apks[quorum][_apkVersions[quorum].advance()] = apk;
    }

    function _latestApk(uint8 quorum) private view returns (BN254.G1Point memory) {
        return _apks[quorum][_apkVersions[quorum].latest()];
    }

    function _apkAt(uint8 quorum, uint32 blockNumber) private view returns (BN254.G1Point memory) {
        return _apks[quorum][_apkVersions[quorum].atBlock(blockNumber)];
    }

    /// @dev The sum of the quorums' aggregate keys without the non-signers' keys, each as often as the sum has it. Takes
    /// the non-signers' stakes off `signedStakes`, in place.
    function _signersKey(
        bytes calldata quorumNumbers,
        uint32 blockNumber,
        BN254.G1Point[] calldata nonSigners,
        uint96[] memory signedStakes
    ) private view returns (BN254.G1Point memory apk) {
        for (uint256 i = 0; i < quorumNumbers.length; i++) {
            apk = BN254.plus(apk, _apkAt(uint8(quorumNumbers[i]), blockNumber));
        }
        bytes32 previous = 0;
        for (uint256 i = 0; i < nonSigners.length; i++) {
            bytes32 id = _id(nonSigners[i]);
            uint256 times = _takeOff(previous, id, quorumNumbers, blockNumber, signedStakes);
            previous = id;
            if (times != 0) apk = BN254.plus(apk, BN254.negate(_times(nonSigners[i], times)));
        }
    }

    function _times(BN254.G1Point memory point, uint256 times) private view returns (BN254.G1Point memory) {
        return times == 1 ? point : BN254.scalar_mul(point, times);
    }

    /// @dev The operator id of EigenLayer. Only canonical points are ever registered, so a key has one id.
    function _id(BN254.G1Point calldata point) private pure returns (bytes32) {
        return keccak256(abi.encodePacked(point.X, point.Y));
    }
}
